// What kernels::rope_forward turns and scales by: angles, and what multiplies s in the row scale.
#pragma once

#include "config/attention_kind.h"
#include "kernels/ops.h"

#include <cstdint>
#include <optional>

#include <ATen/core/Tensor.h>

namespace ssgpt::model {

// YaRN (Peng et al., arXiv 2309.00071, section 3), as Hugging Face's rope_type "yarn" computes it: pairs that
// turn less than once in a window of training are slowed down by `factor`, those that turn more than 32 times
// are left alone, and those between go from one to the other along a ramp over their index. The scores are
// multiplied by (0.1 log factor + 1)^2.
struct Yarn {
  double factor = 1.0;         // windows of this many times the trained length; at least 1
  int64_t trained_length = 0;  // positions of a window of training
};

// How the tables of an evaluation differ from those of training.
struct RopeChange {
  std::optional<Yarn> yarn;
  double score_factor = 1.0;  // > 0, multiplies q k^T of every query and head
};

// Rotary position embedding (Su et al., arXiv 2104.09864) in Hugging Face's convention: of the R dimensions
// that are rotated, pair i turns by t * theta^(-2i / R) at time t. Angles, sines and cosines in fp64, rounded
// once; times 0 to `time` - 1. Tables and `rest` are multiplied by the square root of what the scores are to
// be multiplied by, which reaches q and k alike; YaRN's factor is of the tables alone, as in transformers.
//   rotated_dims: R, even; 0: none, the rotation of a layer without RoPE.
//   theta: above 0; above 1 with YaRN, whose ramp is over logarithms to this base.
kernels::Rotation make_rotation(int64_t time, int64_t rotated_dims, double theta, at::Device device,
                                const RopeChange& change = {});

// L[n] of the kind's row scale for n = 1..count, where a learned p_n starts; fp32 (count), computed in fp64.
// Undefined where the kind has no row scale.
at::Tensor make_position_table(config::AttentionKind kind, const config::PositionConstants& constants,
                               int64_t count, at::Device device);

}  // namespace ssgpt::model
