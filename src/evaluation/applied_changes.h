// The changes applied to a loaded model, in the form used by reports.
#pragma once

#include "evaluation/load_model.h"
#include "report/evaluation.h"

#include <optional>

namespace ssgpt::evaluation {

// extend_pn is set only if windows reach beyond the table, so that the fit is in use.
report::ModelChanges applied_changes(const Overrides& overrides, const LoadedModel& loaded);

std::optional<report::FittedPositions> fitted_positions(const LoadedModel& loaded);

}  // namespace ssgpt::evaluation
