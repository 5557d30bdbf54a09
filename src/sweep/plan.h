// A sweep in its folder: where each run stands, what its process is called with, and what must hold before
// any of them starts.
#pragma once

#include "config/sweep_file.h"
#include "run/directory.h"
#include "sweep/status.h"

#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace ssgpt::sweep {

// DIRECTORY/<run>: an ordinary run directory.
run::RunDirectory directory_of(const std::filesystem::path& directory, const config::SweepRun& run);

// Puts steps in the place of what the configs count in epochs (start::resolve_epochs). Equal files are read
// once. Throws as that does.
void resolve_epochs(std::vector<config::SweepRun>& runs);

// The command line of the process that trains the run, beginning with "ssgpt": `train` with the config that
// write_configs() leaves, --resume auto, and --init-from where it begins at a checkpoint.
std::vector<std::string> train_arguments(const std::filesystem::path& directory, const config::SweepRun& run,
                                         const std::optional<std::filesystem::path>& parent = {});

// What the folders of all runs say, in order; failed, with the reason, where a folder or its config cannot be
// read.
std::vector<Status> statuses_on_disk(const std::filesystem::path& directory,
                                     std::span<const config::SweepRun> runs);

// Throws core::UsageError where a run that has begun was begun with settings that learn something else
// (config::is_material) than `runs` say now, naming each of them for every such run. max_steps may
// be another where the learning rate does not follow from it, but not below what is trained. Passes over what
// statuses_on_disk() calls failed.
void require_same_settings(const std::filesystem::path& directory, std::span<const config::SweepRun> runs);

// Throws core::UsageError where the training shards or the tokenizer are not those that a run was begun with,
// by the fingerprints in its run.json, naming each such run: pairs need the same. Returns what to tell of
// shards that cannot be read. Each set of files is looked at once (data::TokenSource::fingerprint, which
// reads a sample).
std::vector<std::string> require_same_data(const std::filesystem::path& directory,
                                           std::span<const config::SweepRun> runs);

// Throws core::UsageError where train.dtype is measured in each run for itself, as on a CPU (on a GPU a rule
// decides): pairs need the same. `auto_is_gpu`: what train.device: auto stands for.
void require_known_dtype(std::span<const config::SweepRun> runs, bool auto_is_gpu);

// Opens the data of these runs as training does, and throws as that does (start::open_data) where they cannot
// be read; each set of files is opened once.
void require_readable_data(std::span<const config::SweepRun> runs);

// Bytes of the checkpoints of a run at their most: weights and two moments in fp32 for each that is kept, and
// one that is being written.
uint64_t checkpoint_bytes(const config::Config& config);

// What to tell where the folder's file system has less room than the checkpoints of `runs` need; none where
// it has, or does not say.
std::optional<std::string> disk_warning(const std::filesystem::path& directory,
                                        std::span<const config::SweepRun> runs);

// Writes DIRECTORY/configs/<run>.yaml for each of these runs: every key with its value, so that the run can
// be repeated with `ssgpt train` alone. Throws core::RunError.
void write_configs(const std::filesystem::path& directory, std::span<const config::SweepRun> runs);

}  // namespace ssgpt::sweep
