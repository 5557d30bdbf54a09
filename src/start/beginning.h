// Where a run begins, for its record and its checkpoints.
#pragma once

#include "run/beginning.h"
#include "start/start.h"

#include <optional>

namespace ssgpt::start {

// The parent of a fork, or of a run with another model's weights, is named in the directory of the run that
// keeps it, whichever link or relative path led there; otherwise, as for a model that no trainer wrote or a
// copy on its own, by its absolute path. Its trainings are known if a trainer wrote it, and if the run around
// it, or the checkpoint itself where there is no run, tells what it began from; an earlier version did not
// store that in checkpoints.
//   nullopt: a resumed run of which neither the checkpoint nor run.json tells. Throws core::InputError if a
// checkpoint or a run's record cannot be read.
std::optional<run::Beginning> beginning_of(const Start& start);

}  // namespace ssgpt::start
