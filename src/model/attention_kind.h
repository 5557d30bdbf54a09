// Which parameters each kind of attention has: c = s L[n] + b with L[n] = log n or the learned p_n.
#pragma once

#include "config/config.h"

namespace ssgpt::model {

constexpr bool has_row_scale(config::AttentionKind kind) {
  return kind != config::AttentionKind::kSoftmax;
}

constexpr bool has_scale(config::AttentionKind kind) {
  return has_row_scale(kind) && kind != config::AttentionKind::kSsmaxFixed;
}

constexpr bool has_bias(config::AttentionKind kind) {
  return kind == config::AttentionKind::kSsmaxBias || kind == config::AttentionKind::kLearnedPn;
}

constexpr bool has_learned_position(config::AttentionKind kind) {
  return kind == config::AttentionKind::kLearnedPn;
}

}  // namespace ssgpt::model
