// An Estimate as JSON, as it stands in comparison.json and evaluation.json.
#pragma once

#include "report/verdict.h"

#include <nlohmann/json.hpp>

namespace ssgpt::report {

// mean_difference, verdict, method, values, missing, sides, and what is known of its error and its power;
// null for what is not. `paired`: the sides share a seed.
nlohmann::ordered_json estimate_fields(const Estimate& estimate, bool paired);

}  // namespace ssgpt::report
