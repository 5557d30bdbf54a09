// Final results of a sweep: the comparison of its runs, per point of the grid if it has one.
#pragma once

#include "config/sweep_file.h"

#include <filesystem>
#include <string>
#include <vector>

namespace ssgpt::sweep {

struct Results {
  std::string text;                                // tables to display
  std::vector<std::filesystem::path> directories;  // with a report each
  std::vector<std::string> notes;                  // what could not be compared, and why
};

// Compares the variants with the baseline, at each point of the grid, over the runs that have a training
// loss. Writes comparison.json, comparison.csv and table.txt into DIRECTORY/report, or
// DIRECTORY/report/<point>; with a grid, also DIRECTORY/report/grid.txt (grid_table()). Runs without a loss,
// or with unreadable files, are left out with a note. Throws core::RunError where a file cannot be written.
Results write_results(const std::filesystem::path& directory, const config::Sweep& sweep);

// The files that write_results() writes or removes, whether or not they exist.
std::vector<std::filesystem::path> result_files(const std::filesystem::path& directory,
                                                const config::Sweep& sweep);

// Mean training loss over the last fifth of the steps, by variant and point, averaged over the seeds whose
// runs are finished, with their number if not all are; "*" marks the best point of each variant among those
// with all seeds finished. A non-finite loss makes its cell "nan".
std::string grid_table(const std::filesystem::path& directory, const config::Sweep& sweep);

}  // namespace ssgpt::sweep
