#include "report/estimate_json.h"

#include <string>
#include <tuple>

namespace ssgpt::report {
namespace {

using Json = nlohmann::ordered_json;

// For several numbers of pairs, the scatter between seeds at which they show a difference of the size found.
Json scatter_json(const Estimate& estimate) {
  Json object = Json::object();
  for (const int64_t seeds : {int64_t{3}, int64_t{5}, int64_t{10}})
    object[std::to_string(seeds)] = largest_scatter(estimate.mean, seeds, estimate.level());
  return object;
}

}  // namespace

Json estimate_fields(const Estimate& estimate, bool paired) {
  Json object = {{"mean_difference", estimate.mean},
                 {"verdict", to_string(estimate.verdict())},
                 {"method", to_string(estimate.method)},
                 {"values", estimate.seeds},
                 {"missing", estimate.missing},
                 {"sides", estimate.method == Method::kSeedsUnpaired
                               ? Json({estimate.candidate_runs, estimate.baseline_runs})
                               : Json(nullptr)}};
  const bool scattered = estimate.method != Method::kNone;
  for (const auto& [name, known, value] :
       {std::tuple{"standard_error", scattered, estimate.standard_error},
        std::tuple{"degrees_of_freedom", scattered, estimate.degrees_of_freedom},
        std::tuple{"seed_scatter", scattered, estimate.scatter},
        std::tuple{"low", estimate.tested(), estimate.low()},
        std::tuple{"high", estimate.tested(), estimate.high()},
        std::tuple{"p", estimate.tested(), estimate.p},
        std::tuple{"p_corrected", estimate.tested(), estimate.p_corrected},
        std::tuple{"smallest_detectable", estimate.tested(), estimate.smallest_detectable}}) {
    object[name] = known ? Json(value) : Json(nullptr);
  }
  object["rounding"] = estimate.rounding;
  object["power"] = kPower;
  object["power_level"] = estimate.level();
  object["seeds_needed"] = scattered && estimate.seeds_needed ? Json(*estimate.seeds_needed) : Json(nullptr);
  object["scatter_for_seeds"] =
      scattered || !paired || !estimate.independent ? Json(nullptr) : scatter_json(estimate);
  return object;
}

}  // namespace ssgpt::report
