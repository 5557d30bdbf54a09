// What an evaluation changes in a model as it reads it.
#pragma once

#include "config/attention_kind.h"

#include <optional>

namespace ssgpt::evaluation {

// Each is recorded with what was measured. No weight that the checkpoint has changes, but for an s whose unit
// a swap converts (checkpoint::with_attention).
struct Overrides {
  // In place of the checkpoint's; above 0.
  std::optional<double> rope_theta = {};
  // model::Yarn with windows this many times the trained length; at least 1.
  std::optional<double> yarn_factor = {};
  // Multiplies the scores of every query, on top of the kind's own row scale; above 0.
  std::optional<double> row_scale = {};
  // Swapped to without training: new parameters start as in training. Nothing changes where the model has it.
  std::optional<config::AttentionKind> attention = {};
  // A learned p_n beyond its table is a1 log n + a2, fitted to the table (PnFit).
  bool extend_pn = false;
};

}  // namespace ssgpt::evaluation
