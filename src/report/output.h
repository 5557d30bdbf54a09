// A comparison as text, JSON and CSV.
#pragma once

#include "report/comparison.h"

#include <filesystem>
#include <string>

namespace ssgpt::report {

// Verdict, aligned tables and notes, for users.
std::string to_table(const Comparison& comparison);

// One indented object with everything except the curves. Numbers read back to the same double; missing ones
// are null.
std::string to_json(const Comparison& comparison);

// One row per shared stretch of steps, identified by its last step, and per shared validation step:
// first_step, step, tokens, loss/RUN..., smoothed/VARIANT..., difference/CANDIDATE...,
// smoothed_difference/CANDIDATE..., validation/RUN.... Missing values are empty fields. Numbers read back to
// the same double.
std::string to_csv(const Comparison& comparison);

// Names of all files that write_files() writes or removes.
inline constexpr const char* kFileNames[] = {"comparison.json", "comparison.csv", "table.txt",
                                             "comparison.png", "report.html"};

// Writes comparison.json, comparison.csv and table.txt into `directory`, which is created if missing; each
// file appears complete or not at all. First removes what scripts/report.py drew there from earlier numbers
// (comparison.png, report.html). Throws core::RunError.
void write_files(const Comparison& comparison, const std::filesystem::path& directory);

}  // namespace ssgpt::report
