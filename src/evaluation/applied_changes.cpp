#include "evaluation/applied_changes.h"

#include <string>

namespace ssgpt::evaluation {

report::ModelChanges applied_changes(const Overrides& overrides, const LoadedModel& loaded) {
  report::ModelChanges changes{.rope_theta = overrides.rope_theta,
                               .yarn_factor = overrides.yarn_factor,
                               .row_scale = overrides.row_scale,
                               .attention = std::nullopt,
                               .extend_pn = loaded.pn_fit.has_value()};
  if (overrides.attention) changes.attention = std::string(config::to_string(*overrides.attention));
  return changes;
}

std::optional<report::FittedPositions> fitted_positions(const LoadedModel& loaded) {
  if (!loaded.pn_fit) return std::nullopt;
  return report::FittedPositions{.a1 = loaded.pn_fit->a1,
                                 .a2 = loaded.pn_fit->a2,
                                 .rms_residual = loaded.pn_fit->rms_residual,
                                 .max_residual = loaded.pn_fit->max_residual,
                                 .entries = loaded.pn_fit->entries};
}

}  // namespace ssgpt::evaluation
