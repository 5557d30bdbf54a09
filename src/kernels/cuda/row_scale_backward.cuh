// Gradients of the row scale's parameters. d_scale and d_bias are sums over the rows, in fp64; d_position
// sums the rows by their number of keys. Rows are split into parts, one block each, whose sums a second
// kernel adds in order: no atomics.
#pragma once

#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/row_scale.cuh"

#include <cstdint>

namespace ssgpt::kernels::cuda {

constexpr int kRowScaleWarps = 16;
constexpr int kRowScaleThreads = kRowScaleWarps * kWarp;
constexpr int kAddPartsThreads = 128;

// The rows of a part, and the layout of the partial sums: d_scale (heads), d_bias (heads), d_position
// (positions) per part, one part after another.
struct RowScaleParts {
  int64_t rows, rows_of_part, heads, positions;
  float* scratch;
  __device__ int64_t stride() const { return 2 * heads + positions; }
  __device__ int64_t end(int64_t part) const {
    return (part + 1) * rows_of_part < rows ? (part + 1) * rows_of_part : rows;
  }
};

// One lane per head; a warp takes every kRowScaleWarps-th row of the part.
__global__ void __launch_bounds__(kRowScaleThreads)
    row_scale_heads_kernel(const float* d_row_scale, const int32_t* num_keys, RowScaleView row_scale,
                           RowScaleParts parts) {
  __shared__ double scale_sums[kRowScaleWarps][kWarp + 1];
  __shared__ double bias_sums[kRowScaleWarps][kWarp + 1];
  const int lane = static_cast<int>(threadIdx.x);
  const int warp = static_cast<int>(threadIdx.y);
  const int64_t part = blockIdx.x;
  const int64_t first_head = int64_t{blockIdx.y} * kWarp;
  double scale_sum = 0.0;
  double bias_sum = 0.0;
  if (first_head + lane < parts.heads) {
    const int64_t end = parts.end(part);
    for (int64_t row = part * parts.rows_of_part + warp; row < end; row += kRowScaleWarps) {
      const auto d = static_cast<double>(d_row_scale[row * parts.heads + first_head + lane]);
      scale_sum += d * static_cast<double>(position_at(row_scale, num_keys[row]));
      bias_sum += d;
    }
  }
  scale_sums[warp][lane] = scale_sum;
  bias_sums[warp][lane] = bias_sum;
  __syncthreads();
  float* sums = parts.scratch + part * parts.stride();
  for (int column = warp; column < kWarp; column += kRowScaleWarps) {
    const int64_t head = first_head + column;
    if (head >= parts.heads) break;
    const double scale = warp_sum(lane < kRowScaleWarps ? scale_sums[lane][column] : 0.0);
    const double bias = warp_sum(lane < kRowScaleWarps ? bias_sums[lane][column] : 0.0);
    if (lane == 0) {
      sums[head] = static_cast<float>(scale);
      sums[parts.heads + head] = static_cast<float>(bias);
    }
  }
}

// One thread per row, kRowScaleThreads rows at a time: among rows with the same position, the first one's
// thread adds them all, in order. A row with an invalid position adds NaN to the first position.
__global__ void __launch_bounds__(kRowScaleThreads)
    row_scale_positions_kernel(const float* d_row_scale, const int32_t* num_keys, RowScaleView row_scale,
                               RowScaleParts parts) {
  constexpr int kPack = 4;
  __shared__ Pack<int32_t, kPack> positions[kRowScaleThreads / kPack];
  __shared__ Pack<float, kPack> sums[kRowScaleThreads / kPack];
  const int thread = static_cast<int>(threadIdx.x);
  const int64_t part = blockIdx.x;
  float* d_position = parts.scratch + part * parts.stride() + 2 * parts.heads;
  for (int64_t i = thread; i < parts.positions; i += kRowScaleThreads) d_position[i] = 0.0f;
  const int64_t end = parts.end(part);
  for (int64_t begin = part * parts.rows_of_part; begin < end; begin += kRowScaleThreads) {
    const int64_t row = begin + thread;
    int32_t position = -1;
    float sum = 0.0f;
    if (row < end) {
      const int32_t n = num_keys[row];
      for (int64_t head = 0; head < parts.heads; ++head) {
        sum += d_row_scale[row * parts.heads + head] *
               (row_scale.scale != nullptr ? row_scale.scale[head] : 1.0f);
      }
      const bool is_valid = is_position(row_scale, n);
      position = is_valid ? n - 1 : 0;
      sum = is_valid ? sum : kNan;
    }
    __syncthreads();  // earlier rows' d_position is written, and their shared values are no longer needed
    positions[thread / kPack].values[thread % kPack] = position;
    sums[thread / kPack].values[thread % kPack] = sum;
    __syncthreads();
    float total = 0.0f;
    bool is_first = position >= 0;
    for (int i = 0; i < kRowScaleThreads / kPack; ++i) {
      const Pack<int32_t, kPack> others = positions[i];
      const Pack<float, kPack> terms = sums[i];
      for (int j = 0; j < kPack; ++j) {
        if (others.values[j] != position) continue;
        total += terms.values[j];
        if (i * kPack + j < thread) is_first = false;
      }
    }
    if (is_first) d_position[position] += total;
  }
}

__global__ void __launch_bounds__(kAddPartsThreads)
    add_row_scale_parts_kernel(RowScaleParts parts, int64_t num_parts, float* d_scale, float* d_bias,
                               float* d_position) {
  const int64_t i = int64_t{blockIdx.x} * kAddPartsThreads + threadIdx.x;
  if (i >= parts.stride()) return;
  float* out = nullptr;
  if (i < parts.heads) {
    out = d_scale != nullptr ? d_scale + i : nullptr;
  } else if (i < 2 * parts.heads) {
    out = d_bias != nullptr ? d_bias + i - parts.heads : nullptr;
  } else {
    out = d_position != nullptr ? d_position + i - 2 * parts.heads : nullptr;
  }
  if (out == nullptr) return;
  double sum = 0.0;
  for (int64_t part = 0; part < num_parts; ++part) {
    sum += static_cast<double>(parts.scratch[part * parts.stride() + i]);
  }
  *out += static_cast<float>(sum);
}

inline void row_scale_backward(const float* d_row_scale, const int32_t* num_keys, RowScaleView row_scale,
                               float* d_scale, float* d_bias, float* d_position, float* scratch, int64_t rows,
                               int64_t heads, Stream stream) {
  if (rows == 0 || heads == 0) return;
  const int64_t rows_of_part = divide_up(rows, kRowScaleParts);
  const int64_t num_parts = divide_up(rows, rows_of_part);
  const RowScaleParts parts = {.rows = rows,
                               .rows_of_part = rows_of_part,
                               .heads = heads,
                               .positions = row_scale.num_positions,
                               .scratch = scratch};
  const auto grid = static_cast<unsigned>(num_parts);
  if (d_scale != nullptr || d_bias != nullptr) {
    launch("row_scale_heads", row_scale_heads_kernel,
           dim3(grid, static_cast<unsigned>(divide_up(heads, kWarp))), dim3(kWarp, kRowScaleWarps), stream,
           d_row_scale, num_keys, row_scale, parts);
  }
  if (d_position != nullptr) {
    launch("row_scale_positions", row_scale_positions_kernel, dim3(grid), dim3(kRowScaleThreads), stream,
           d_row_scale, num_keys, row_scale, parts);
  }
  const int64_t sums = 2 * heads + row_scale.num_positions;
  launch("add_row_scale_parts", add_row_scale_parts_kernel,
         dim3(static_cast<unsigned>(divide_up(sums, kAddPartsThreads))), dim3(kAddPartsThreads), stream,
         parts, num_parts, d_scale, d_bias, d_position);
}

}  // namespace ssgpt::kernels::cuda
