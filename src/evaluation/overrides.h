// Changes that an evaluation makes to a model on loading it.
#pragma once

#include "config/attention_kind.h"
#include "model/gpt.h"

#include <cstdint>
#include <filesystem>
#include <optional>

namespace ssgpt::evaluation {

// All of them are recorded with the measurements. No weight of the checkpoint changes, except an s whose unit
// a swap converts (checkpoint::with_attention).
struct Overrides {
  // Replaces the checkpoint's theta; above 0.
  std::optional<double> rope_theta = {};
  // model::Yarn for windows this many times the trained length; at least 1.
  std::optional<double> yarn_factor = {};
  // Multiplies the scores of every query, on top of the kind's own row scale; above 0.
  std::optional<double> row_scale = {};
  // Swaps to this kind without training: new parameters have their initial values. No effect if it is the
  // model's.
  std::optional<config::AttentionKind> attention = {};
  // Continues a learned p_n beyond its table as a1 log n + a2, fitted to the table (PnFit).
  bool extend_pn = false;
};

// Throws core::UsageError that names the option for a number out of its range.
void check_overrides(const Overrides& overrides);

// Throws core::UsageError that names the checkpoint if a model trained as described by `trained` cannot be
// loaded with these overrides for windows of `sequence_length` tokens: beyond a learned p_n without
// extend_pn, or YaRN with a theta of 1 or less.
void check_windows(const std::filesystem::path& checkpoint, const model::GPTSpec& trained,
                   const Overrides& overrides, int64_t sequence_length);

}  // namespace ssgpt::evaluation
