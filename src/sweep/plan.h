// A sweep in its folder: the status of each run, the command line of its process, and the checks before any
// run starts.
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

// Converts epochs in the configs to steps (start::resolve_epochs), reading each set of files once. Throws as
// that does.
void resolve_epochs(std::vector<config::SweepRun>& runs);

// Command line of the process that trains the run, beginning with "ssgpt": `train` with the config written by
// write_configs(), --resume auto, and --init-from if it begins from a checkpoint.
std::vector<std::string> train_arguments(const std::filesystem::path& directory, const config::SweepRun& run,
                                         const std::optional<std::filesystem::path>& parent = {});

// Statuses according to the folders of the runs, in order; failed, with the reason, where a folder or its
// config cannot be read.
std::vector<Status> statuses_on_disk(const std::filesystem::path& directory,
                                     std::span<const config::SweepRun> runs);

// Throws core::UsageError where a run began with settings that learn something else (config::is_material)
// than those in `runs`, naming each such setting of every such run. max_steps may differ where the learning
// rate does not depend on it, but must not be below the steps already trained. Skips runs that
// statuses_on_disk() reports as failed.
void require_same_settings(const std::filesystem::path& directory, std::span<const config::SweepRun> runs);

// Throws core::UsageError, naming each such run, where the training shards or the tokenizer differ from those
// that a run began with, by the fingerprints in its run.json: paired runs need the same data. Returns notes
// about shards that cannot be read. Each set of files is fingerprinted once (data::TokenSource::fingerprint,
// which reads a sample).
std::vector<std::string> require_same_data(const std::filesystem::path& directory,
                                           std::span<const config::SweepRun> runs);

// Throws core::UsageError where each run would choose train.dtype by its own measurement, as on a CPU (on a
// GPU a rule decides): paired runs need the same dtype. `auto_is_gpu`: whether train.device: auto means a
// GPU.
void require_known_dtype(std::span<const config::SweepRun> runs, bool auto_is_gpu);

// Opens the data of these runs as training does, each set of files once. Throws as start::open_data does
// where they cannot be read.
void require_readable_data(std::span<const config::SweepRun> runs);

// Maximum bytes of a run's checkpoints: fp32 weights and two moments for each that is kept, plus one being
// written.
uint64_t checkpoint_bytes(const config::Config& config);

// A warning if the folder's file system has less free space than the checkpoints of `runs` may need; nullopt
// if it has enough, or cannot tell.
std::optional<std::string> disk_warning(const std::filesystem::path& directory,
                                        std::span<const config::SweepRun> runs);

// Writes DIRECTORY/configs/<run>.yaml for each of these runs, with every key, so that the run can be repeated
// with `ssgpt train` alone. Throws core::RunError.
void write_configs(const std::filesystem::path& directory, std::span<const config::SweepRun> runs);

}  // namespace ssgpt::sweep
