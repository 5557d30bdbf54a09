// A comparison as text, JSON and CSV.
#pragma once

#include "report/comparison.h"

#include <filesystem>
#include <string>

namespace ssgpt::report {

// Verdict, aligned tables and notes, for people.
std::string to_table(const Comparison& comparison);

// One object, indented, with everything but the curves. Numbers read back to the same double; null where
// there is none.
std::string to_json(const Comparison& comparison);

// One row for each shared stretch of steps, by its last step, and for each shared validation step:
// first_step, step, tokens, loss/RUN..., smoothed/VARIANT..., difference/CANDIDATE...,
// smoothed_difference/CANDIDATE..., validation/RUN.... Fields without a value are empty. Numbers read back to
// the same double.
std::string to_csv(const Comparison& comparison);

// The names of all files that write_files() writes or removes.
inline constexpr const char* kFileNames[] = {"comparison.json", "comparison.csv", "table.txt",
                                             "comparison.png", "report.html"};

// Writes comparison.json, comparison.csv and table.txt into `directory`, which is made where it is missing;
// each file appears whole or not at all. What scripts/report.py drew there from earlier numbers
// (comparison.png, report.html) is removed first. Throws core::RunError.
void write_files(const Comparison& comparison, const std::filesystem::path& directory);

}  // namespace ssgpt::report
