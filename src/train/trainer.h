// Training from its start to the last step: steps, metrics, validation, checkpoints, swaps of the attention,
// the stop.
#pragma once

#include "core/stop_signal.h"
#include "parallel/communicator.h"
#include "start/start.h"

#include <optional>
#include <string>

namespace ssgpt::train {

struct TrainResult {
  int64_t step = 0;     // finished updates
  int stop_signal = 0;  // the signal that ended the run early, after a checkpoint; 0: it came to its end
};

// Freed memory stays with the process: the attention kernel allocates its outputs at every call, and fresh
// pages cost more than the arithmetic on them.
// For the whole process, before anything large is allocated or measured.
void keep_freed_memory();

// Trains from `start`, on every rank of the communicator; rank 0 writes the run's files. `command_line` goes
// into run.json. `stop_signal` is empty, and set where training begins: before, a signal ends the process at
// once. The caller keeps it until the other ranks are done, too. Throws core::RunError where the loss stops
// being finite (the last good checkpoint stays) or a file cannot be written, core::InputError for bad data,
// and parallel::PeerFailure where another rank fails.
TrainResult train(start::Start start, const std::string& command_line, parallel::Communicator& communicator,
                  std::optional<core::StopSignal>& stop_signal);

}  // namespace ssgpt::train
