// Cells and blocks that the tables of all evaluations share.
#pragma once

#include "report/evaluation.h"

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace ssgpt::report {

// With four decimals; "-" where it is not finite.
std::string value_text(double number);

// "seed 1", "3 seeds (1, 2, 3)"
std::string list_seeds(const std::vector<uint64_t>& seeds);

// The models of each variant, which differ in seed alone, in the order of the first of each.
std::vector<std::vector<const EvaluatedModel*>> models_by_variant(const EvaluatedCondition& condition);

// A row for each name, a column for each point, a few of them side by side; cell(row, point).
std::string table_across(const Evaluation& evaluation, const std::vector<std::string>& names,
                         const std::function<std::string(size_t row, size_t point)>& cell);

// YaRN, and the lines that a learned p_n was continued by; empty where there is neither.
std::string fits_text(const Evaluation& evaluation);

std::string notes_text(const Evaluation& evaluation);

}  // namespace ssgpt::report
