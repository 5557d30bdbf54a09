// How far a run of a sweep is.
#pragma once

#include "run/directory.h"

#include <cstdint>
#include <optional>
#include <string>

namespace ssgpt::sweep {

enum class State {
  kWaiting,    // not begun, or stopped before its end: it starts or goes on when its turn comes
  kRunning,    // a process of this sweep trains it
  kElsewhere,  // another process trains it: `ssgpt sweep --only`, or `ssgpt train`
  kDone,
  kFailed,
  kStopped,  // by the signal that stops the sweep
};

struct Status {
  State state = State::kWaiting;
  int64_t step = 0;  // of its newest line of metrics, or its newest checkpoint where that is later
  int64_t max_steps = 0;
  std::optional<double> loss;         // train/loss of that line; NaN where it was not finite
  std::optional<double> eta_seconds;  // until max_steps, of a run that trains
  std::string reason;                 // why it failed
};

// What the run's folder says: waiting, elsewhere, or done, where a complete checkpoint of max_steps or later
// stands there. Throws core::ReadError where the system does not say, core::InputError where what stands
// there is no run's.
Status status_on_disk(const run::RunDirectory& directory, int64_t max_steps);

// The same, but failed with the reason in place of an exception: of one folder that cannot be read the other
// runs know nothing.
Status status_or_failure(const run::RunDirectory& directory, int64_t max_steps);

// The same for a sweep under way, but as `earlier` where the folder cannot be looked at just now: one failing
// call of a network file system is no failure of the run.
Status status_or_earlier(const run::RunDirectory& directory, const Status& earlier);

// Takes step and loss from the newest line of metrics; leaves them where it cannot be read.
void take_progress(const run::RunDirectory& directory, Status& status);

// "waiting", "running", "elsewhere", "done", "failed", "stopped"
const char* to_string(State state);

}  // namespace ssgpt::sweep
