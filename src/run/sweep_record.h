// sweep.json: which runs a sweep's folder holds, in which order. One reader and one writer.
#pragma once

#include "config/sweep_file.h"
#include "run/directory.h"

#include <filesystem>
#include <string>
#include <vector>

namespace ssgpt::run {

// Writes DIRECTORY/sweep.json atomically: {"format": "ssgpt-sweep", "version": 1, "baseline": VARIANT,
// "runs":
// [{"name", "variant", "point", "grid", "seed"}...]}, the runs in the sweep's order. Leaves a file alone that
// says the same: several processes may do this at the same time. Throws core::RunError.
void write_sweep_record(const std::filesystem::path& directory, const config::Sweep& sweep);

// Writes `text` as `path` unless that is what stands there, also where other processes write the same.
void write_if_changed(const std::filesystem::path& path, const std::string& text);

bool holds_sweep(const std::filesystem::path& directory);

// The names of the folders of the runs, in the order of the sweep: the first is the baseline's. Throws
// core::InputError where sweep.json is missing, damaged or of a version that this program does not know.
std::vector<std::string> read_sweep_runs(const std::filesystem::path& directory);

// `paths` with each sweep's folder replaced by its runs, in order. A run without a training loss yet is left
// out, and its path added to `not_begun`. Throws as read_sweep_runs() does.
std::vector<std::filesystem::path> expand_sweeps(const std::vector<std::filesystem::path>& paths,
                                                 std::vector<std::filesystem::path>& not_begun);

}  // namespace ssgpt::run
