// Whether a training may write its files into a directory: what stands there under their names has to be its
// own.
#pragma once

#include "run/directory.h"

namespace ssgpt::run {

// Throws core::UsageError that names the first file which a training would write over, append to or take for
// its own: one under the name of a run's file where no run is, a link or a FIFO in the place of one, and a
// folder of checkpoints that is linked to those of another run. Writes nothing. Throws core::ReadError.
void require_own_files(const RunDirectory& directory);

}  // namespace ssgpt::run
