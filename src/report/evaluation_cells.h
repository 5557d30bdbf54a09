// Cells and blocks shared by the tables of all evaluations.
#pragma once

#include "report/evaluation.h"

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace ssgpt::report {

// Four decimals; "-" if not finite.
std::string value_text(double number);

// "seed 1", "3 seeds (1, 2, 3)"
std::string list_seeds(const std::vector<uint64_t>& seeds);

// The models of each variant, which differ only in seed, in the order of the first one of each.
std::vector<std::vector<const EvaluatedModel*>> models_by_variant(const EvaluatedCondition& condition);

// One row per name and one column per point, a few points side by side; cell(row, point).
std::string table_across(const Evaluation& evaluation, const std::vector<std::string>& names,
                         const std::function<std::string(size_t row, size_t point)>& cell);

// YaRN, and the fits by which a learned p_n was continued; empty without either.
std::string fits_text(const Evaluation& evaluation);

std::string notes_text(const Evaluation& evaluation);

}  // namespace ssgpt::report
