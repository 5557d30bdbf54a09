// The changes made to a model, as JSON: one form for all commands that change one.
#pragma once

#include "report/evaluation.h"

#include <optional>

#include <nlohmann/json_fwd.hpp>

namespace ssgpt::report {

// {"rope_theta", "yarn_factor", "row_scale", "attention", "extend_pn"}, null for what is as trained.
nlohmann::ordered_json changes_json(const ModelChanges& changes);

// {"a1", "a2", "rms_residual", "max_residual", "entries"}; null without a fit.
nlohmann::ordered_json fit_json(const std::optional<FittedPositions>& fit);

}  // namespace ssgpt::report
