// What a sweep ends with: the comparison of its runs, by points of the grid where it has one.
#pragma once

#include "config/sweep_file.h"

#include <filesystem>
#include <string>
#include <vector>

namespace ssgpt::sweep {

struct Results {
  std::string text;                                // tables, for people
  std::vector<std::filesystem::path> directories;  // that a report was written into
  std::vector<std::string> notes;                  // what could not be compared, and why
};

// Compares the runs that have a training loss, the variants with the baseline (at the same point of the
// grid), and writes comparison.json, comparison.csv and table.txt into DIRECTORY/report, or
// DIRECTORY/report/<point>. With a grid, also DIRECTORY/report/grid.txt (grid_table()). Throws core::RunError
// where a file cannot be written, core::InputError where a run's files are damaged.
Results write_results(const std::filesystem::path& directory, const config::Sweep& sweep);

// The mean training loss over the last fifth of the steps, by variant and point, averaged over the seeds; "*"
// is at the best point of each variant. Runs without a loss yet are left out; one whose loss is not finite
// there makes its cell "nan".
std::string grid_table(const std::filesystem::path& directory, const config::Sweep& sweep);

}  // namespace ssgpt::sweep
