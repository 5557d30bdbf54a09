// Texts and cells that the tables of all evaluations share.
#pragma once

#include "report/evaluation.h"

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace ssgpt::report {

// With four decimals; "-" where it is not finite.
std::string value_text(double number);

// "1 seed", "3 seeds"
std::string counted(int64_t number, std::string_view noun);

// "seed 1", "3 seeds (1, 2, 3)"
std::string list_seeds(const std::vector<uint64_t>& seeds);

// Whether points are bins of positions; of a retrieval they are lengths.
bool has_bins(const Evaluation& evaluation);

// "32..63"
std::string range_text(const Point& point);

// What a point stands for, in the first cells of its row: names, and values.
std::vector<std::string> point_head(const Evaluation& evaluation);
std::vector<std::string> point_cells(const Evaluation& evaluation, const Point& point);

// A row for each name, a column for each point, a few of them side by side; cell(row, point).
std::string table_across(const Evaluation& evaluation, const std::vector<std::string>& names,
                         const std::function<std::string(size_t row, size_t point)>& cell);

// "12 windows of 4096 tokens, which do not overlap (overlap 0), of v.bin": what bins are over.
std::string windows_text(const Evaluation& evaluation);

// YaRN, and the lines that a learned p_n was continued by; empty where there is neither.
std::string fits_text(const Evaluation& evaluation);

std::string notes_text(const Evaluation& evaluation);

}  // namespace ssgpt::report
