#include "evaluation/overrides.h"

#include "core/error.h"

#include <cmath>

namespace ssgpt::evaluation {

void check_overrides(const Overrides& overrides) {
  const auto is_positive = [](double value) {
    return std::isfinite(value) && value > 0.0;
  };
  if (overrides.rope_theta && !is_positive(*overrides.rope_theta)) {
    throw core::UsageError("--rope-theta {}: RoPE's theta must be a finite number above 0.",
                           *overrides.rope_theta);
  }
  if (overrides.row_scale && !is_positive(*overrides.row_scale)) {
    throw core::UsageError("--row-scale {}: a row scale must be a finite number above 0.",
                           *overrides.row_scale);
  }
  if (overrides.yarn_factor && !(std::isfinite(*overrides.yarn_factor) && *overrides.yarn_factor >= 1.0)) {
    throw core::UsageError("--yarn {}: YaRN's factor must be a finite number, at least 1.",
                           *overrides.yarn_factor);
  }
}

void check_windows(const std::filesystem::path& checkpoint, const model::GPTSpec& trained,
                   const Overrides& overrides, int64_t sequence_length) {
  const double theta = overrides.rope_theta.value_or(trained.config.rope_theta);
  if (overrides.yarn_factor && theta <= 1.0)
    throw core::UsageError("{}: --yarn needs a theta above 1, not {}.", checkpoint.string(), theta);
  const config::AttentionKind kind = overrides.attention.value_or(trained.config.attention.kind);
  const int64_t entries = trained.sequence_length;
  if (!config::has_learned_position(kind) || sequence_length <= entries) return;
  if (overrides.extend_pn && entries >= 2) return;
  throw core::UsageError(
      "{} has a learned p_n of {} entries: its windows hold up to {} tokens, not {}. With --extend-pn fit "
      "the entries beyond come from a1 log n + a2, fitted to two entries or more.",
      checkpoint.string(), entries, entries, sequence_length);
}

}  // namespace ssgpt::evaluation
