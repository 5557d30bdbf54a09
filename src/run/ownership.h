// Checks that a run may write its files into a directory: existing files with their names must be its own.
#pragma once

#include "run/directory.h"

namespace ssgpt::run {

// Throws core::UsageError naming the first file that a run would overwrite, append to or mistake for its own:
// one with the name of a run's file where there is no run, a link or a FIFO in place of such a file, or a
// checkpoints folder that links to those of another run. Writes nothing. Throws core::ReadError.
void require_own_files(const RunDirectory& directory);

}  // namespace ssgpt::run
