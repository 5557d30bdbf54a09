// Where the data of a run lie for a process that goes on from another directory than the one it began in.
#pragma once

#include "config/config.h"

#include <filesystem>

namespace ssgpt::start {

// Relative paths of config.data that are as `before` has them, name nothing from the current directory, and
// name something from `directory`, from which the run read them before, are made absolute there; the log says
// so. Whether the files hold the same is for whoever opens them to compare. An empty `directory` changes
// nothing. Throws core::ReadError where a folder cannot be read.
void take_paths_from(const std::filesystem::path& directory, const config::Config& before,
                     config::Config& config);

}  // namespace ssgpt::start
