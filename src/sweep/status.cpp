#include "sweep/status.h"

#include "core/error.h"
#include "core/file.h"
#include "parallel/error_text.h"
#include "run/metrics_line.h"

#include <algorithm>
#include <exception>
#include <vector>

namespace ssgpt::sweep {

const char* to_string(State state) {
  switch (state) {
    case State::kWaiting:
      return "waiting";
    case State::kRunning:
      return "running";
    case State::kElsewhere:
      return "elsewhere";
    case State::kDone:
      return "done";
    case State::kFailed:
      return "failed";
    case State::kStopped:
      return "stopped";
  }
  return "";
}

void update_progress(const run::RunDirectory& directory, Status& status) {
  std::optional<run::MetricsLine> line;
  try {
    line = run::read_last_loss(directory.metrics());
  } catch (const core::ReadError&) {  // it is polled again soon
  }
  if (!line) return;
  status.step = line->step;
  status.loss = line->value("train/loss");
}

Status status_on_disk(const run::RunDirectory& directory, int64_t max_steps) {
  Status status{.state = State::kWaiting,
                .step = 0,
                .max_steps = max_steps,
                .loss = std::nullopt,
                .eta_seconds = std::nullopt,
                .reason = {}};
  if (core::exists(directory.path()) && !core::is_directory(directory.path())) {
    throw core::InputError("{}: not a folder", directory.path().string());
  }
  update_progress(directory, status);
  const std::vector<run::Checkpoint> saved = directory.complete_checkpoints();
  const int64_t saved_step = saved.empty() ? 0 : saved.back().step;
  status.step = std::max(status.step, saved_step);
  if (saved_step >= max_steps) {
    status.state = State::kDone;
  } else if (run::is_locked(directory)) {
    status.state = State::kElsewhere;
  }
  return status;
}

Status status_or_failure(const run::RunDirectory& directory, int64_t max_steps) {
  try {
    return status_on_disk(directory, max_steps);
  } catch (const std::exception& error) {
    return {.state = State::kFailed,
            .step = 0,
            .max_steps = max_steps,
            .loss = std::nullopt,
            .eta_seconds = std::nullopt,
            .reason = parallel::error_text(error)};
  }
}

Status status_or_earlier(const run::RunDirectory& directory, const Status& earlier) {
  try {
    return status_on_disk(directory, earlier.max_steps);
  } catch (const core::ReadError& error) {
    if (error.code() == core::ExitCode::kFailed) return earlier;
  } catch (const std::exception&) {  // reported below
  }
  return status_or_failure(directory, earlier.max_steps);
}

}  // namespace ssgpt::sweep
