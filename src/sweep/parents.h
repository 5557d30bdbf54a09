// The checkpoints that the runs of a sweep begin from, given by init_from in its file.
#pragma once

#include "config/sweep_file.h"

#include <filesystem>
#include <optional>
#include <span>
#include <vector>

namespace ssgpt::sweep {

// For each run the checkpoint that provides its initial weights; nullopt: fresh initialisation. Where
// init_from is a run, that is its newest complete checkpoint, else init_from itself. For a run that has
// already saved a checkpoint, it is the one that the run began from, which may no longer exist.
//
// Throws core::UsageError naming every run whose checkpoint does not exist, belongs to a run that is still
// being trained, does not fit the run's config (start::refuse_other_model), or has another kind of attention;
// every run that began from a different checkpoint; and every variant whose seeds would begin at different
// steps. Throws core::InputError where a checkpoint cannot be read.
std::vector<std::optional<std::filesystem::path>> find_parents(const std::filesystem::path& directory,
                                                               std::span<const config::SweepRun> runs);

}  // namespace ssgpt::sweep
