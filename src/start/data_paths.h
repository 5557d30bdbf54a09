// Locates a run's data for a process that resumes it from another directory than the one it began in.
#pragma once

#include "config/config.h"

#include <filesystem>

namespace ssgpt::start {

// Makes relative paths of config.data absolute in `directory`, from which the run read them before, if they
// are unchanged from `before`, match nothing from the current directory, and match something from
// `directory`; the log says so. Whether the files hold the same data is left to the code that opens them. An
// empty `directory` changes nothing. Throws core::ReadError if a folder cannot be read.
void take_paths_from(const std::filesystem::path& directory, const config::Config& before,
                     config::Config& config);

}  // namespace ssgpt::start
