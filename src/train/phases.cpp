#include "train/phases.h"

#include "core/log.h"
#include "core/text.h"

#include <string>
#include <vector>

#include <fmt/format.h>
#include <fmt/ranges.h>

namespace ssgpt::train {

metrics::PhaseTimers make_phase_timers() {
  return metrics::PhaseTimers(
      {"fetch", "forward and backward", "reduce", "clip", "update", "evaluate", "checkpoint"});
}

void log_phase_times(const metrics::PhaseTimers& timers, bool on_gpu) {
  double total = 0.0;
  for (size_t phase = 0; phase < timers.size(); ++phase) total += timers.seconds(phase);
  if (total == 0.0) return;
  if (on_gpu) {
    const auto time_of = [&timers](Phase phase) {
      return core::human_duration(timers.seconds(static_cast<size_t>(phase)));
    };
    core::log::info("Time outside the steps: validation and samples {}, checkpoints {}.",
                    time_of(Phase::kEvaluate), time_of(Phase::kCheckpoint));
    return;
  }
  std::vector<std::string> parts;
  for (size_t phase = 0; phase < timers.size(); ++phase) {
    parts.push_back(fmt::format("{} {:.1f} %", timers.name(phase), 100.0 * timers.seconds(phase) / total));
  }
  core::log::info("Time: {} in all; {}.", core::human_duration(total), fmt::join(parts, ", "));
}

}  // namespace ssgpt::train
