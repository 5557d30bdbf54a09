// The files of a run's directory, as they must be before the first step.
#pragma once

#include "start/start.h"

#include <cstdint>
#include <string>

namespace ssgpt::start {

// Opens log.txt, writes config.yaml and run.json, and cuts the metrics and samples that a resumed run will
// produce again. Called on rank 0, whose caller holds the run's lock. num_ranks: processes that train. Throws
// core::UsageError if another process changed the directory after the run was resolved, core::RunError if a
// file cannot be written.
void prepare_run_files(const Start& start, const std::string& command_line, int64_t num_ranks);

}  // namespace ssgpt::start
