// Tables for kernels::rope_forward: angles, and what multiplies s in the row scale.
#pragma once

#include "config/attention_kind.h"

#include <cstdint>

#include <ATen/core/Tensor.h>

namespace ssgpt::model {

// Rotary position embedding (Su et al., arXiv 2104.09864) in Hugging Face's convention: pair i of a head
// turns by t * theta^(-2i / H) at time t.
struct RopeTables {
  at::Tensor cos;  // fp32 (T, H/2)
  at::Tensor sin;  // fp32 (T, H/2)
};

// Angles, sines and cosines in fp64, rounded once.
RopeTables make_rope_tables(int64_t time, int64_t head_dim, double theta, at::Device device);

// L[n] of the kind's row scale for n = 1..count, where a learned p_n starts; fp32 (count), computed in fp64.
// Undefined where the kind has no row scale.
at::Tensor make_position_table(config::AttentionKind kind, int64_t count, at::Device device);

}  // namespace ssgpt::model
