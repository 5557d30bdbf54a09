// Training from a plan to the last step: data, steps, metrics, validation, checkpoints, the scheduled swap,
// the stop.
#pragma once

#include "core/stop_signal.h"
#include "parallel/communicator.h"
#include "train/run_plan.h"

#include <optional>
#include <string>

namespace ssgpt::train {

struct TrainResult {
  int64_t step = 0;     // finished updates
  int stop_signal = 0;  // the signal that ended the run early, after a checkpoint; 0: it came to its end
};

// Runs the plan, on every rank of the communicator; rank 0 writes the run's files. `command_line` goes into
// run.json. `stop_signal` is empty, and set where training begins: before, a signal ends the process at once.
// The caller keeps it until the other ranks are done, too. Throws core::RunError where the loss stops being
// finite (the last good checkpoint stays) or a file cannot be written, core::InputError for bad data,
// core::UsageError where the ranks do not agree on what they train, and parallel::PeerFailure where another
// rank fails.
TrainResult train(RunPlan plan, const std::string& command_line, parallel::Communicator& communicator,
                  std::optional<core::StopSignal>& stop_signal);

// What --dry-run prints: the resolved config, parameters, memory, token budget of each of `num_ranks`
// processes. Opens every input, and throws as train().
std::string describe_plan(RunPlan plan, int64_t num_ranks);

}  // namespace ssgpt::train
