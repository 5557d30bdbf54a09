// Inputs of kernels::rope_forward: RoPE tables, and the factor on s in the row scale.
#pragma once

#include "config/attention_kind.h"
#include "kernels/ops.h"

#include <cstdint>
#include <optional>

#include <ATen/core/Tensor.h>

namespace ssgpt::model {

// YaRN (Peng et al., arXiv 2309.00071, section 3), as Hugging Face's rope_type "yarn" computes it: pairs that
// complete less than one turn in a training window are slowed down by `factor`, those that complete more than
// 32 are left alone, and those in between are interpolated along a ramp over their index. The scores are
// multiplied by (0.1 log factor + 1)^2.
struct Yarn {
  double factor = 1.0;         // context extension over the trained length; at least 1
  int64_t trained_length = 0;  // positions of a training window
};

// Changes that an evaluation makes to the tables of training.
struct RopeChange {
  std::optional<Yarn> yarn;
  double score_factor = 1.0;  // > 0, multiplies q k^T for every query and head
};

// RoPE (Su et al., arXiv 2104.09864) in Hugging Face's convention: of the R rotated dimensions, pair i is
// rotated by t * theta^(-2i / R) at time t. Angles, sines and cosines are computed in fp64 and rounded once;
// times 0 to `time` - 1. Tables and `rest` are multiplied by the square root of the factor on the scores,
// since both q and k get it; YaRN's factor applies to the tables alone, as in transformers.
//   rotated_dims: R, even; 0: none, for a layer without RoPE.
//   theta: above 0; above 1 with YaRN, whose ramp is over logarithms to this base.
kernels::Rotation make_rotation(int64_t time, int64_t rotated_dims, double theta, at::Device device,
                                const RopeChange& change = {});

// L[n] of the kind's row scale for n = 1..count, the initial value of a learned p_n; fp32 (count), computed
// in fp64. Undefined if the kind has no row scale.
at::Tensor make_position_table(config::AttentionKind kind, const config::PositionConstants& constants,
                               int64_t count, at::Device device);

}  // namespace ssgpt::model
