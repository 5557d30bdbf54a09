// sweep.json: the runs in a sweep's folder, in order. The only reader and writer.
#pragma once

#include "config/sweep_file.h"
#include "run/directory.h"

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace ssgpt::run {

// Writes DIRECTORY/sweep.json atomically: {"format": "ssgpt-sweep", "version": 1, "baseline": VARIANT,
// "runs": [{"name", "variant", "point", "grid", "seed"}...]}, the runs in the sweep's order. Does not touch a
// file with the same content: several processes may do this at the same time. Throws core::RunError.
void write_sweep_record(const std::filesystem::path& directory, const config::Sweep& sweep);

// Writes `text` to `path` unless the file already has this content; safe while other processes write the
// same.
void write_if_changed(const std::filesystem::path& path, const std::string& text);

// DIRECTORY/configs/RUN.yaml, the config that the run of this name is trained with.
std::filesystem::path sweep_config(const std::filesystem::path& directory, const std::string& run_name);

// Throws core::UsageError naming a file that the sweep would overwrite although no sweep wrote it:
// sweep.json, the config of a run, or one of `results`, the files written at the end. Writes nothing.
void require_own_files(const std::filesystem::path& directory, const config::Sweep& sweep,
                       const std::vector<std::filesystem::path>& results);

// Deletes partially written files of the sweep itself that killed processes left. Requires the sweep's lock.
void remove_temporaries(const std::filesystem::path& directory);

bool holds_sweep(const std::filesystem::path& directory);

struct SweepRecord {
  struct Run {
    std::string name;  // name of its folder
    std::string variant;
    std::string point;  // of the grid; empty without one
  };
  std::string baseline;   // name of a variant
  std::vector<Run> runs;  // in the order of the sweep
};

// Throws core::InputError where sweep.json is missing, damaged or of an unknown version.
SweepRecord read_sweep_record(const std::filesystem::path& directory);

// Whether the runs are at several points of a grid, which are compared point by point.
bool has_grid(const SweepRecord& record);

// Runs to compare, from paths that may include sweep folders.
struct Expansion {
  std::vector<std::filesystem::path> runs;       // with each sweep folder replaced by its runs, in order
  std::vector<std::filesystem::path> not_begun;  // runs left out because they have no training loss yet
  std::string sweep_baseline;  // the baseline variant if the first path is a sweep's folder, else empty
  std::optional<std::filesystem::path> baseline;  // the first of `runs` of that variant
};

// Throws as read_sweep_record() does.
Expansion expand_sweeps(const std::vector<std::filesystem::path>& paths);

}  // namespace ssgpt::run
