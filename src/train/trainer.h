// Training from its start to the last step: steps, metrics, validation, checkpoints, attention swaps, the
// stop.
#pragma once

#include "core/stop_signal.h"
#include "parallel/communicator.h"
#include "start/start.h"

#include <optional>
#include <string>

namespace ssgpt::train {

struct TrainResult {
  int64_t step = 0;     // finished updates
  int stop_signal = 0;  // the signal that ended the run early, after a checkpoint; 0: it ran to its end
};

// Makes the process keep freed memory: the attention kernel allocates its outputs at every call, and fresh
// pages cost more than the arithmetic on them. Applies to the whole process; call it before anything large is
// allocated or measured.
void keep_freed_memory();

// Trains from `start`, on every rank of the communicator; rank 0 writes the run's files. `command_line` is
// recorded in run.json. `stop_signal` is passed empty, and set when training begins: before that, a signal
// ends the process at once. The caller keeps it until the other ranks are done, too. Throws core::RunError if
// the loss becomes non-finite (the last good checkpoint stays) or a file cannot be written, core::InputError
// for bad data, and parallel::PeerFailure if another rank fails.
TrainResult train(start::Start start, const std::string& command_line, parallel::Communicator& communicator,
                  std::optional<core::StopSignal>& stop_signal);

}  // namespace ssgpt::train
