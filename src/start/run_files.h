// The files of a run's directory, as they must stand before the first step.
#pragma once

#include "start/start.h"

#include <cstdint>
#include <string>

namespace ssgpt::start {

// Opens log.txt, writes config.yaml and run.json, and cuts what a resumed run makes again. On rank 0, whose
// caller holds the run's lock. num_ranks: of processes that train. Throws core::UsageError where another
// process changed the directory since the run was resolved, core::RunError where a file cannot be written.
void prepare_run_files(const Start& start, const std::string& command_line, int64_t num_ranks);

}  // namespace ssgpt::start
