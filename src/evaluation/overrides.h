// What an evaluation changes in a model as it reads it.
#pragma once

#include "config/attention_kind.h"

#include <optional>

namespace ssgpt::evaluation {

// Each is recorded with what was measured. No weight that the checkpoint has changes, but for an s whose unit
// a swap converts (checkpoint::with_attention).
struct Overrides {
  std::optional<double> rope_theta;  // above 0, in place of the checkpoint's
  std::optional<double>
      yarn_factor;                  // at least 1: model::Yarn with windows this many times the trained length
  std::optional<double> row_scale;  // above 0: multiplies the scores of every query, on top of the kind's own
  std::optional<config::AttentionKind>
      attention;           // swapped to without training: new parameters start as in
                           // training; nothing changes where it is the model's own kind
  bool extend_pn = false;  // a learned p_n beyond its table is a1 log n + a2, fitted to the table (PnFit)
};

}  // namespace ssgpt::evaluation
