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
// DIRECTORY/report/<point>. With a grid, also DIRECTORY/report/grid.txt (grid_table()). A run without a loss,
// or whose files cannot be read, is left out with a note. Throws core::RunError where a file cannot be
// written.
Results write_results(const std::filesystem::path& directory, const config::Sweep& sweep);

// The files that write_results() writes or removes, whether they are there or not.
std::vector<std::filesystem::path> result_files(const std::filesystem::path& directory,
                                                const config::Sweep& sweep);

// The mean training loss over the last fifth of the steps, by variant and point, averaged over the seeds
// whose runs are finished, with their number where it is not all; "*" is at the best point of each variant
// among those of all seeds. A loss there that is not finite makes its cell "nan".
std::string grid_table(const std::filesystem::path& directory, const config::Sweep& sweep);

}  // namespace ssgpt::sweep
