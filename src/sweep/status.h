// Status of one run of a sweep.
#pragma once

#include "run/directory.h"

#include <cstdint>
#include <optional>
#include <string>

namespace ssgpt::sweep {

enum class State {
  kWaiting,    // not begun, or stopped early: starts or resumes when its turn comes
  kRunning,    // being trained by a process of this sweep
  kElsewhere,  // being trained by another process: `ssgpt sweep --only`, or `ssgpt train`
  kDone,
  kFailed,
  kStopped,  // by the signal that stopped the sweep
};

struct Status {
  State state = State::kWaiting;
  int64_t step = 0;  // of the newest line of metrics or the newest checkpoint, whichever is later
  int64_t max_steps = 0;
  std::optional<double> loss;         // train/loss of that line; NaN where it was not finite
  std::optional<double> eta_seconds;  // until max_steps, for a running run
  std::string reason;                 // why it failed
};

// Status according to the run's folder: waiting, elsewhere, or done if it has a complete checkpoint of
// max_steps or later. Throws core::ReadError where the system cannot tell, core::InputError where it is not a
// run's folder.
Status status_on_disk(const run::RunDirectory& directory, int64_t max_steps);

// The same, but failed with the reason instead of an exception, so that one unreadable folder does not affect
// other runs.
Status status_or_failure(const run::RunDirectory& directory, int64_t max_steps);

// The same for a running sweep, but returns `earlier` where the folder is temporarily unreadable: one failed
// call on a network file system is not a failure of the run.
Status status_or_earlier(const run::RunDirectory& directory, const Status& earlier);

// Sets step and loss from the newest line of metrics; leaves them unchanged where it cannot be read.
void update_progress(const run::RunDirectory& directory, Status& status);

// "waiting", "running", "elsewhere", "done", "failed", "stopped"
const char* to_string(State state);

}  // namespace ssgpt::sweep
