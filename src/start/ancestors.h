// The trainings behind a checkpoint that a new run begins at, as its record keeps them.
#pragma once

#include "run/record.h"

#include <filesystem>
#include <vector>

namespace ssgpt::start {

// From the first one to that which wrote `checkpoint`, an absolute path. Empty where they are not all known:
// no trainer wrote it, its run is not around it (a copy that stands alone), or was begun by an earlier
// version from a checkpoint of its own. Throws core::InputError where the checkpoint or its run's record does
// not read.
std::vector<run::Ancestor> ancestors_of(const std::filesystem::path& checkpoint);

}  // namespace ssgpt::start
