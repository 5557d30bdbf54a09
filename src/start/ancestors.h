// The trainings behind a checkpoint from which a new run begins, for that run's record.
#pragma once

#include "run/record.h"

#include <filesystem>
#include <vector>

namespace ssgpt::start {

// The path by which a record names the checkpoint of a run: in that run's own directory, whichever link or
// relative path led there. Otherwise, as for a model that no trainer wrote, the absolute path. Throws as
// below.
std::filesystem::path lasting_path(const std::filesystem::path& checkpoint);

// Returns them in order, from the first to the one that wrote `checkpoint`, an absolute path. Empty if they
// are not all known: no trainer wrote the checkpoint, its run is not around it (a copy on its own), or that
// run was begun by an earlier version from a checkpoint of its own. Throws core::InputError if the checkpoint
// or its run's record cannot be read.
std::vector<run::Ancestor> ancestors_of(const std::filesystem::path& checkpoint);

}  // namespace ssgpt::start
