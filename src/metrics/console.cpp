#include "metrics/console.h"

#include "core/text.h"

#include <fmt/format.h>

namespace ssgpt::metrics {

std::string format_console_line(const ConsoleFigures& figures) {
  const std::string max_steps = fmt::format("{}", figures.max_steps);
  std::string line = fmt::format("step {:>{}}/{}", figures.step, max_steps.size(), max_steps);
  const auto add = [&line](const std::string& column) {
    line += "   " + column;
  };
  if (figures.loss) add(fmt::format("loss {:7.4f}", *figures.loss));
  if (figures.smoothed_loss) add(fmt::format("smooth {:7.4f}", *figures.smoothed_loss));
  if (figures.validation_loss) add(fmt::format("validation {:7.4f}", *figures.validation_loss));
  if (figures.lr) add(fmt::format("lr {:.2e}", *figures.lr));
  if (figures.grad_norm) add(fmt::format("grad {:6.3f}", *figures.grad_norm));
  if (figures.tokens_per_second) {
    add(fmt::format("{:>6} tok/s", core::human_count(*figures.tokens_per_second)));
  }
  if (figures.gemm_share) add(fmt::format("GEMM share {:4.1f} %", 100.0 * *figures.gemm_share));
  if (figures.mfu) add(fmt::format("MFU {:4.1f} %", 100.0 * *figures.mfu));
  if (figures.eta_seconds) add("ETA " + core::human_duration(*figures.eta_seconds));
  return line;
}

}  // namespace ssgpt::metrics
