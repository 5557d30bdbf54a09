// The row scale of attention: the factor on a head's query.
#pragma once

#include "kernels/cuda/launch.cuh"

#include <cmath>
#include <cstdint>

namespace ssgpt::kernels::cuda {

__device__ inline bool is_position(const RowScaleView& row_scale, int32_t num_keys) {
  return num_keys >= 1 && num_keys <= row_scale.num_positions;
}

// position[num_keys - 1], NaN if out of range.
__device__ inline float position_at(const RowScaleView& row_scale, int32_t num_keys) {
  return is_position(row_scale, num_keys) ? row_scale.position[num_keys - 1] : kNan;
}

// Row scale of a head, given position_at its row.
__device__ inline float row_scale_at(const RowScaleView& row_scale, float position, int64_t head) {
  constexpr float kSmallest = 1e-20f;  // see RowScale in ops.h
  float c = position;
  if (row_scale.scale != nullptr) c *= row_scale.scale[head];
  if (row_scale.bias != nullptr) c += row_scale.bias[head];
  return fabsf(c) < kSmallest ? copysignf(kSmallest, c) : c;
}

}  // namespace ssgpt::kernels::cuda
