// Where the runs of a sweep begin: the checkpoints that init_from of its file stands for.
#pragma once

#include "config/sweep_file.h"

#include <filesystem>
#include <optional>
#include <span>
#include <vector>

namespace ssgpt::sweep {

// For each run the checkpoint whose weights it begins with; none: initial values. It is the newest complete
// one where init_from is a run, else what stands there; of a run that has saved one of its own the one that
// it began at, which may be gone by now.
//
// Throws core::UsageError that names every run where there is none, where the run behind it is still being
// trained, where it is no model for the run's config (start::refuse_other_model) or has another kind of
// attention, where a run has begun from elsewhere, or where the seeds of a variant would begin at different
// steps; core::InputError where a checkpoint does not read.
std::vector<std::optional<std::filesystem::path>> find_parents(const std::filesystem::path& directory,
                                                               std::span<const config::SweepRun> runs);

}  // namespace ssgpt::sweep
