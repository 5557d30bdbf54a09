// What an evaluation changes in a model as it reads it.
#pragma once

#include "config/attention_kind.h"
#include "model/gpt.h"

#include <cstdint>
#include <filesystem>
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

// Throws core::UsageError, which names the option, for a number out of its range.
void check_overrides(const Overrides& overrides);

// Throws core::UsageError, which names the checkpoint, where a model that was trained as `trained` says
// cannot be read with these overrides for windows of `sequence_length` tokens: beyond a learned p_n without
// extend_pn, and YaRN with a theta of 1 or less.
void check_windows(const std::filesystem::path& checkpoint, const model::GPTSpec& trained,
                   const Overrides& overrides, int64_t sequence_length);

}  // namespace ssgpt::evaluation
