// sweep.json: which runs a sweep's folder holds, in which order. One reader and one writer.
#pragma once

#include "config/sweep_file.h"
#include "run/directory.h"

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace ssgpt::run {

// Writes DIRECTORY/sweep.json atomically: {"format": "ssgpt-sweep", "version": 1, "baseline": VARIANT,
// "runs": [{"name", "variant", "point", "grid", "seed"}...]}, the runs in the sweep's order. Leaves a file
// alone that says the same: several processes may do this at the same time. Throws core::RunError.
void write_sweep_record(const std::filesystem::path& directory, const config::Sweep& sweep);

// Writes `text` as `path` unless that is what stands there, also where other processes write the same.
void write_if_changed(const std::filesystem::path& path, const std::string& text);

// DIRECTORY/configs/RUN.yaml, which the run of this name is trained with.
std::filesystem::path sweep_config(const std::filesystem::path& directory, const std::string& run_name);

// Throws core::UsageError that names a file which the sweep would write over though no sweep wrote it:
// sweep.json, the config of a run, or one of `results`, the files that it ends with. Writes nothing.
void require_own_files(const std::filesystem::path& directory, const config::Sweep& sweep,
                       const std::vector<std::filesystem::path>& results);

// Deletes what killed processes left half-written of a sweep's own files. Under the sweep's lock.
void remove_temporaries(const std::filesystem::path& directory);

bool holds_sweep(const std::filesystem::path& directory);

struct SweepRecord {
  struct Run {
    std::string name;  // of its folder
    std::string variant;
    std::string point;  // of the grid; empty without one
  };
  std::string baseline;   // a variant
  std::vector<Run> runs;  // in the order of the sweep
};

// Throws core::InputError where sweep.json is missing, damaged or of a version that this program does not
// know.
SweepRecord read_sweep_record(const std::filesystem::path& directory);

// Whether its runs are at several points of a grid, which are compared point by point.
bool has_grid(const SweepRecord& record);

// Runs to compare, from paths of which some are folders of sweeps.
struct Expansion {
  std::vector<std::filesystem::path> runs;       // each such folder replaced by its runs, in order
  std::vector<std::filesystem::path> not_begun;  // of these: without a training loss yet, and left out
  std::string sweep_baseline;  // the baseline's variant where the first path is a sweep's folder, else empty
  std::optional<std::filesystem::path> baseline;  // the first of `runs` of that variant
};

// Throws as read_sweep_record() does.
Expansion expand_sweeps(const std::vector<std::filesystem::path>& paths);

}  // namespace ssgpt::run
