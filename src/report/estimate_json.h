// An Estimate as JSON, as used in comparison.json and evaluation.json.
#pragma once

#include "report/verdict.h"

#include <nlohmann/json.hpp>

namespace ssgpt::report {

// mean_difference, verdict, method, values, missing, sides, and what is known of its error and power; null
// for what is unknown. `paired`: the sides share a seed.
nlohmann::ordered_json estimate_fields(const Estimate& estimate, bool paired);

}  // namespace ssgpt::report
