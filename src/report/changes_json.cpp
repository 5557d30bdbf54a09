#include "report/changes_json.h"

#include <nlohmann/json.hpp>

namespace ssgpt::report {
namespace {

using Json = nlohmann::ordered_json;

template <typename T>
Json optional(const std::optional<T>& value) {
  return value ? Json(*value) : Json(nullptr);
}

}  // namespace

Json changes_json(const ModelChanges& changes) {
  return {{"rope_theta", optional(changes.rope_theta)},
          {"yarn_factor", optional(changes.yarn_factor)},
          {"row_scale", optional(changes.row_scale)},
          {"attention", optional(changes.attention)},
          {"extend_pn", changes.extend_pn}};
}

Json fit_json(const std::optional<FittedPositions>& fit) {
  if (!fit) return nullptr;
  return {{"a1", fit->a1},
          {"a2", fit->a2},
          {"rms_residual", fit->rms_residual},
          {"max_residual", fit->max_residual},
          {"entries", fit->entries}};
}

}  // namespace ssgpt::report
