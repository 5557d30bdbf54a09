// Query/key norm, RoPE and the row scale of attention fused in one kernel, forward and backward. A lane holds
// its vectors of a head in registers, and the lanes of a head reduce over it. A block processes either
// queries or keys: the gradients of both gains would take too many registers.
#pragma once

#include "kernels/cuda/chunks.cuh"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/rotation.cuh"
#include "kernels/cuda/row_scale.cuh"

#include <cmath>
#include <cstdint>

namespace ssgpt::kernels::cuda {

constexpr int kQkNormWarps = kRopeThreads / kWarp;

// Pairs of vectors of a head that a lane holds: 16 values per tensor.
template <int kWidth>
inline constexpr int kHeldPairs = 8 / kWidth;
static_assert(2 * kWarp * kHeldPairs<1> == kMostQkNormDims);

// The p-th pair of a head that this lane holds.
template <int kWidth>
__device__ inline int64_t held_pair(int p) {
  return (int64_t{threadIdx.x} + int64_t{p} * blockDim.x) * kWidth;
}

// A lane's part of a vector of H values; zeros at pairs from `end` on.
template <typename T, int kWidth>
struct HeldPairsOf {
  Pair<T, kWidth> pairs[kHeldPairs<kWidth>];
};
template <int kWidth, typename T>
__device__ inline HeldPairsOf<T, kWidth> load_held(const T* from, const PairsOfHead& pairs, int64_t end) {
  HeldPairsOf<T, kWidth> held = {};
  for (int p = 0; p < kHeldPairs<kWidth>; ++p) {
    const int64_t pair = held_pair<kWidth>(p);
    const PairPlace place = place_of<true>(pair, pairs);
    if (pair < end) held.pairs[p] = load_pair<kWidth>(from + place.low, place.distance);
  }
  return held;
}

template <int kWidth>
struct HeldAngles {
  Angles<kWidth> pairs[kHeldPairs<kWidth>];
};
template <int kWidth>
__device__ inline HeldAngles<kWidth> load_held_angles(const RotationView& rotation, int64_t time,
                                                      const PairsOfHead& pairs, int64_t end) {
  HeldAngles<kWidth> held = {};
  for (int p = 0; p < kHeldPairs<kWidth>; ++p) {
    const int64_t pair = held_pair<kWidth>(p);
    if (pair >= end || pair >= pairs.rotated) continue;
    held.pairs[p] = load_angles<kWidth>(rotation.cos + time * pairs.rotated + pair,
                                        rotation.sin + time * pairs.rotated + pair);
  }
  return held;
}

template <int kWidth>
__device__ inline float dot(const FloatsPair<kWidth>& a, const FloatsPair<kWidth>& b) {
  float sum = 0.0f;
  for (int i = 0; i < kWidth; ++i) {
    sum += a.low.values[i] * b.low.values[i];
    sum += a.high.values[i] * b.high.values[i];
  }
  return sum;
}

template <int kWidth>
__device__ inline void multiply(FloatsPair<kWidth>& x, const FloatsPair<kWidth>& factors) {
  for (int i = 0; i < kWidth; ++i) {
    x.low.values[i] *= factors.low.values[i];
    x.high.values[i] *= factors.high.values[i];
  }
}

__device__ inline float rstd_of(float squares, int64_t head_dim, float eps) {
  return 1.0f / sqrtf(squares / static_cast<float>(head_dim) + eps);
}

// Row scale for queries, 1 for keys.
template <typename T>
__device__ inline float factor_of(const RopeArgs<T>& args, bool is_scaled, float position, int64_t head) {
  return is_scaled ? row_scale_at(args.row_scale, position, head) : 1.0f;
}

// Thread layout as in rope_backward_kernel; blockIdx.y: 0 for queries, 1 for keys.
template <typename T, int kWidth>
__global__ void __launch_bounds__(kRopeThreads) qk_norm_rope_forward_kernel(RopeArgs<T> args, int64_t rows) {
  const int64_t row = int64_t{blockIdx.x} * blockDim.z + threadIdx.z;
  const PairsOfHead pairs = pairs_of_head<true>(args.rotation, args.head_dim);
  const int64_t end = row < rows ? pairs.half : 0;
  const int64_t time = static_cast<uint32_t>(row) % static_cast<uint32_t>(args.time);
  const int64_t width = args.heads * args.head_dim;
  const bool is_scaled = blockIdx.y == 0 && args.row_scale.position != nullptr;
  const float position = is_scaled && row < rows ? position_at(args.row_scale, args.num_keys[row]) : 1.0f;
  const HeldPairsOf<T, kWidth> gain =
      load_held<kWidth>(blockIdx.y == 0 ? args.norm.q_gain : args.norm.k_gain, pairs, pairs.half);
  const HeldAngles<kWidth> angles = load_held_angles<kWidth>(args.rotation, time, pairs, end);
  for (int64_t head = threadIdx.y; head < args.heads; head += blockDim.y) {
    T* x = args.qkv + (row * 3 + blockIdx.y) * width + head * args.head_dim;
    const HeldPairsOf<T, kWidth> before = load_held<kWidth>(x, pairs, end);
    float squares = 0.0f;
    for (int p = 0; p < kHeldPairs<kWidth>; ++p) {
      const FloatsPair<kWidth> floats = floats_of(before.pairs[p]);
      squares += dot(floats, floats);
    }
    squares = warp_sum(squares, static_cast<int>(blockDim.x));
    const float rstd = rstd_of(squares, args.head_dim, args.norm.eps);
    const float c = factor_of(args, is_scaled, position, head);
    for (int p = 0; p < kHeldPairs<kWidth>; ++p) {
      const int64_t pair = held_pair<kWidth>(p);
      if (pair >= end) continue;
      const PairPlace place = place_of<true>(pair, pairs);
      if (args.norm.raw != nullptr) {
        T* raw = args.norm.raw + (row * 2 + blockIdx.y) * width + head * args.head_dim;
        store_pair(before.pairs[p], raw + place.low, place.distance);
      }
      FloatsPair<kWidth> floats = floats_of(before.pairs[p]);
      multiply(floats, rstd);
      multiply(floats, floats_of(gain.pairs[p]));
      turn<true>(floats, place.is_rotated, angles.pairs[p], 1.0f, args.rotation.rest, c);
      store_pair(words_of<T>(floats), x + place.low, place.distance);
    }
  }
}

// Partial gradient of a gain over the rows and heads of a thread.
template <int kWidth>
struct GainGradient {
  FloatsPair<kWidth> pairs[kHeldPairs<kWidth>];
};

// A head of queries or keys of one row: d_x = gradient of the norm's input, d_gain += gradient of the gain.
// Returns the gradient of `factor`. See norm_and_rotate_head_backward of cpu/rope.h for the formulas. All
// lanes of the warp must call it.
template <typename T, int kWidth>
__device__ inline float qk_norm_back(const T* d_out, const T* raw, const HeldPairsOf<T, kWidth>& gain,
                                     const HeldAngles<kWidth>& angles, const RopeArgs<T>& args, float factor,
                                     const PairsOfHead& pairs, int64_t end, T* d_x,
                                     GainGradient<kWidth>& d_gain) {
  constexpr int kHeld = kHeldPairs<kWidth>;
  const HeldPairsOf<T, kWidth> d = load_held<kWidth>(d_out, pairs, end);
  const HeldPairsOf<T, kWidth> before = load_held<kWidth>(raw, pairs, end);
  FloatsPair<kWidth> back[kHeld];
  float squares = 0.0f;
  float along = 0.0f;
  for (int p = 0; p < kHeld; ++p) {
    FloatsPair<kWidth> x = floats_of(before.pairs[p]);
    squares += dot(x, x);
    back[p] = floats_of(d.pairs[p]);
    turn<true>(back[p], place_of<true>(held_pair<kWidth>(p), pairs).is_rotated, angles.pairs[p], -1.0f,
               args.rotation.rest, 1.0f);
    multiply(x, floats_of(gain.pairs[p]));
    along += dot(x, back[p]);
  }
  const int lanes = static_cast<int>(blockDim.x);
  const float rstd = rstd_of(warp_sum(squares, lanes), args.head_dim, args.norm.eps);
  const float d_factor = warp_sum(along, lanes) * rstd;
  const float direct = end == 0 ? 0.0f : factor * rstd;  // without a row, rstd may be infinite
  const float along_raw = direct * d_factor * rstd / static_cast<float>(args.head_dim);
  for (int p = 0; p < kHeld; ++p) {
    const FloatsPair<kWidth> x = floats_of(before.pairs[p]);
    const FloatsPair<kWidth> g = floats_of(gain.pairs[p]);
    FloatsPair<kWidth>& w = back[p];
    multiply(w, direct);
    for (int i = 0; i < kWidth; ++i) {
      d_gain.pairs[p].low.values[i] += w.low.values[i] * x.low.values[i];
      d_gain.pairs[p].high.values[i] += w.high.values[i] * x.high.values[i];
      w.low.values[i] = w.low.values[i] * g.low.values[i] - along_raw * x.low.values[i];
      w.high.values[i] = w.high.values[i] * g.high.values[i] - along_raw * x.high.values[i];
    }
    const int64_t pair = held_pair<kWidth>(p);
    const PairPlace place = place_of<true>(pair, pairs);
    if (pair < end) store_pair(words_of<T>(w), d_x + place.low, place.distance);
  }
  return d_factor;
}

// Sums over the block, in thread order, into a row of H values. All threads must call it.
template <int kWidth>
__device__ inline void store_gain_gradient(GainGradient<kWidth>& d_gain, const PairsOfHead& pairs,
                                           float* sums) {
  __shared__ float of_warps[kQkNormWarps][kMostQkNormDims];
  const auto lanes = static_cast<int>(blockDim.x);
  const auto threads = static_cast<int>(blockDim.x * blockDim.y * blockDim.z);
  const auto thread = static_cast<int>(threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z));
  const auto over_warp = [lanes](float value) {
    for (int distance = lanes; distance < kWarp; distance *= 2) {
      value += __shfl_xor_sync(kFullMask, value, distance);
    }
    return value;
  };
  for (int p = 0; p < kHeldPairs<kWidth>; ++p) {
    const int64_t pair = held_pair<kWidth>(p);
    const PairPlace place = place_of<true>(pair, pairs);
    for (int i = 0; i < kWidth; ++i) {
      const float low = over_warp(d_gain.pairs[p].low.values[i]);
      const float high = over_warp(d_gain.pairs[p].high.values[i]);
      if (thread % kWarp >= lanes || pair >= pairs.half) continue;
      of_warps[thread / kWarp][place.low + i] = low;
      of_warps[thread / kWarp][place.low + place.distance + i] = high;
    }
  }
  __syncthreads();
  for (int column = thread; column < 2 * pairs.half; column += threads) {
    float sum = of_warps[0][column];
    for (int warp = 1; warp < threads / kWarp; ++warp) sum += of_warps[warp][column];
    sums[column] = sum;
  }
}

// One block per chunk of kNormChunkRows rows, blockDim.z at a time. scratch: (gridDim.y, gridDim.x, H).
template <typename T, int kWidth>
__global__ void __launch_bounds__(kRopeThreads)
    qk_norm_rope_backward_kernel(RopeBackwardArgs<T> args, float* scratch, int64_t rows) {
  const RopeArgs<T>& rope = args.rope;
  const bool is_q = blockIdx.y == 0;
  const bool is_scaled = is_q && args.d_row_scale != nullptr;
  const HeadsView<T> d_out = is_q ? args.d_q : args.d_k;
  const PairsOfHead pairs = pairs_of_head<true>(rope.rotation, rope.head_dim);
  const int64_t width = rope.heads * rope.head_dim;
  const HeldPairsOf<T, kWidth> gain =
      load_held<kWidth>(is_q ? rope.norm.q_gain : rope.norm.k_gain, pairs, pairs.half);
  GainGradient<kWidth> d_gain = {};
  const int64_t chunk = int64_t{blockIdx.x} * kNormChunkRows;
  const int64_t chunk_end = rows - chunk < kNormChunkRows ? rows : chunk + kNormChunkRows;
  for (int64_t begin = chunk; begin < chunk_end; begin += blockDim.z) {
    const int64_t row = begin + threadIdx.z;
    const bool is_row = row < chunk_end;
    const int64_t end = is_row ? pairs.half : 0;
    const int64_t b = static_cast<uint32_t>(row) / static_cast<uint32_t>(rope.time);
    const int64_t t = row - b * rope.time;
    const int32_t num_keys = is_scaled && is_row ? rope.num_keys[row] : 1;
    const float position = is_scaled ? position_at(rope.row_scale, num_keys) : 1.0f;
    const HeldAngles<kWidth> angles = load_held_angles<kWidth>(rope.rotation, t, pairs, end);
    for (int64_t head = threadIdx.y; head < rope.heads; head += blockDim.y) {
      const T* d = d_out.data + b * d_out.batch + t * d_out.time + head * d_out.head;
      const T* d_v = args.d_v.data + b * args.d_v.batch + t * args.d_v.time + head * args.d_v.head;
      const T* raw = rope.norm.raw + (row * 2 + blockIdx.y) * width + head * rope.head_dim;
      T* d_x = rope.qkv + (row * 3 + blockIdx.y) * width + head * rope.head_dim;
      T* v = rope.qkv + (row * 3 + 2) * width + head * rope.head_dim;
      // Copies d_v: the query blocks copy the first vector of each pair, the key blocks the second.
      for (int p = 0; p < kHeldPairs<kWidth>; ++p) {
        const int64_t pair = held_pair<kWidth>(p);
        const PairPlace place = place_of<true>(pair, pairs);
        const int64_t at = place.low + (is_q ? 0 : place.distance);
        if (pair < end) store_words(load_words<kWidth>(d_v + at), v + at);
      }
      const float c = factor_of(rope, is_scaled, position, head);
      const float d_c = qk_norm_back(d, raw, gain, angles, rope, c, pairs, end, d_x, d_gain);
      if (is_scaled && is_row && threadIdx.x == 0) {
        // If c is NaN, so is its gradient, as everywhere else that c is used.
        args.d_row_scale[row * rope.heads + head] = num_keys == 1 ? 0.0f : std::isnan(c) ? c : d_c;
      }
    }
  }
  store_gain_gradient(d_gain, pairs,
                      scratch + (int64_t{blockIdx.y} * gridDim.x + blockIdx.x) * rope.head_dim);
}

template <typename T>
bool is_vector_aligned(const RopeArgs<T>& args) {
  return is_vector_aligned(args.qkv) && is_vector_aligned(args.norm.raw) &&
         is_vector_aligned(args.norm.q_gain) && is_vector_aligned(args.norm.k_gain) &&
         is_vector_aligned<T>(args.rotation, args.head_dim);
}

template <typename T>
void qk_norm_rope_forward(const RopeArgs<T>& args, int64_t batch, Stream stream) {
  const int64_t rows = batch * args.time;
  with_rope_grid<T>(is_vector_aligned(args), rows, args.heads, args.head_dim,
                    [&](auto width, dim3 grid, dim3 block) {
                      launch("qk_norm_rope_forward", qk_norm_rope_forward_kernel<T, width()>, dim3(grid.x, 2),
                             block, stream, args, rows);
                    });
}

template <typename T>
void qk_norm_rope_backward(const RopeBackwardArgs<T>& args, const QkNormSums& sums, int64_t batch,
                           Stream stream) {
  const RopeArgs<T>& rope = args.rope;
  const int64_t rows = batch * rope.time;
  const int64_t chunks = divide_up(rows, kNormChunkRows);
  const bool is_aligned = is_vector_aligned(rope) && is_vector_aligned(args.d_q) &&
                          is_vector_aligned(args.d_k) && is_vector_aligned(args.d_v);
  with_rope_grid<T>(is_aligned, rows, rope.heads, rope.head_dim, [&](auto width, dim3 /*grid*/, dim3 block) {
    launch("qk_norm_rope_backward", qk_norm_rope_backward_kernel<T, width()>,
           dim3(static_cast<unsigned>(chunks), 2), block, stream, args, sums.scratch, rows);
    const RowSumsView of_gains[] = {{sums.scratch, sums.d_q_gain},
                                    {sums.scratch + chunks * rope.head_dim, sums.d_k_gain}};
    add_row_sums(of_gains, 2, chunks, rope.head_dim, stream);
  });
}

}  // namespace ssgpt::kernels::cuda
