// RoPE with the row scale of attention, forward and backward. A thread rotates one vector of each half of
// several heads of a row, so that it reads the row's cos and sin once. With a norm before RoPE: qk_norm.cuh.
#pragma once

#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/qk_norm.cuh"
#include "kernels/cuda/rotation.cuh"
#include "kernels/cuda/row_scale.cuh"

#include <cstdint>
#include <type_traits>

namespace ssgpt::kernels::cuda {

// kPartial: only part of each head is rotated.
template <typename T, int kWidth, bool kScaled, bool kPartial>
__global__ void __launch_bounds__(kRopeThreads) rope_forward_kernel(RopeArgs<T> args, int64_t rows) {
  const int64_t row = int64_t{blockIdx.x} * blockDim.z + threadIdx.z;
  if (row >= rows) return;
  const PairsOfHead pairs = pairs_of_head<kPartial>(args.rotation, args.head_dim);
  // Rows fit in 32 bits, where division is cheap.
  const int64_t angle = static_cast<uint32_t>(row) % static_cast<uint32_t>(args.time) * pairs.rotated;
  const float* cos = args.rotation.cos + angle;
  const float* sin = args.rotation.sin + angle;
  const float rest = kPartial ? args.rotation.rest : 1.0f;
  const float position = kScaled ? position_at(args.row_scale, args.num_keys[row]) : 1.0f;
  T* q = args.qkv + row * 3 * args.heads * args.head_dim;
  for (int64_t i = int64_t{threadIdx.x} * kWidth; i < pairs.half; i += int64_t{blockDim.x} * kWidth) {
    const PairPlace place = place_of<kPartial>(i, pairs);
    const bool is_k_moved = !kPartial || place.is_rotated || rest != 1.0f;
    if (!kScaled && !is_k_moved) return;  // nor are the later pairs
    Angles<kWidth> angles = {};
    if (place.is_rotated) angles = load_angles<kWidth>(cos + i, sin + i);
    for (int64_t head = threadIdx.y; head < args.heads; head += blockDim.y) {
      T* head_q = q + head * args.head_dim + place.low;
      T* head_k = head_q + args.heads * args.head_dim;
      const float c = kScaled ? row_scale_at(args.row_scale, position, head) : 1.0f;
      const Pair<T, kWidth> pair_q = load_pair<kWidth>(head_q, place.distance);
      Pair<T, kWidth> pair_k = {};
      if (is_k_moved) pair_k = load_pair<kWidth>(head_k, place.distance);
      store_pair(rotated<kPartial>(pair_q, place.is_rotated, angles, 1.0f, rest, c), head_q, place.distance);
      if (!is_k_moved) continue;
      store_pair(rotated<kPartial>(pair_k, place.is_rotated, angles, 1.0f, rest, 1.0f), head_k,
                 place.distance);
    }
  }
}

template <typename T, int kWidth>
__device__ inline float dot(const Pair<T, kWidth>& a, const Pair<T, kWidth>& b) {
  const Floats<kWidth> a_low = a.low.floats();
  const Floats<kWidth> b_low = b.low.floats();
  const Floats<kWidth> a_high = a.high.floats();
  const Floats<kWidth> b_high = b.high.floats();
  float sum = 0.0f;
  for (int i = 0; i < kWidth; ++i) {
    sum += a_low.values[i] * b_low.values[i];
    sum += a_high.values[i] * b_high.values[i];
  }
  return sum;
}

// The blockDim.x threads of a head are neighbouring lanes, a power of two, and blockDim.y divides the number
// of heads, so that all lanes of a warp take part in its sums.
template <typename T, int kWidth, bool kScaled, bool kPartial>
__global__ void __launch_bounds__(kRopeThreads) rope_backward_kernel(RopeBackwardArgs<T> args, int64_t rows) {
  const RopeArgs<T>& rope = args.rope;
  const int64_t row = int64_t{blockIdx.x} * blockDim.z + threadIdx.z;
  const bool is_row = row < rows;
  const PairsOfHead pairs = pairs_of_head<kPartial>(rope.rotation, rope.head_dim);
  const int64_t b = static_cast<uint32_t>(row) / static_cast<uint32_t>(rope.time);
  const int64_t t = row - b * rope.time;
  const int64_t width = rope.heads * rope.head_dim;
  const int64_t begin = int64_t{threadIdx.x} * kWidth;
  const int64_t end = is_row ? pairs.half : 0;
  const float* cos = rope.rotation.cos + t * pairs.rotated;
  const float* sin = rope.rotation.sin + t * pairs.rotated;
  const float rest = kPartial ? rope.rotation.rest : 1.0f;
  const T* d_q = args.d_q.data + b * args.d_q.batch + t * args.d_q.time;
  const T* d_k = args.d_k.data + b * args.d_k.batch + t * args.d_k.time;
  const T* d_v = args.d_v.data + b * args.d_v.batch + t * args.d_v.time;
  const int32_t num_keys = kScaled && is_row ? rope.num_keys[row] : 1;
  const float position = kScaled ? position_at(rope.row_scale, num_keys) : 1.0f;
  Angles<kWidth> angles = {};
  if (begin < end && (!kPartial || begin < pairs.rotated)) {
    angles = load_angles<kWidth>(cos + begin, sin + begin);
  }
  for (int64_t head = threadIdx.y; head < rope.heads; head += blockDim.y) {
    const float c = kScaled ? row_scale_at(rope.row_scale, position, head) : 1.0f;
    float sum = 0.0f;
    for (int64_t i = begin; i < end; i += int64_t{blockDim.x} * kWidth) {
      const PairPlace place = place_of<kPartial>(i, pairs);
      const int64_t distance = place.distance;
      // A thread has a single vector per head, unless heads are longer than a warp's vectors.
      if (pairs.half > int64_t{blockDim.x} * kWidth && place.is_rotated) {
        angles = load_angles<kWidth>(cos + i, sin + i);
      }
      T* q = rope.qkv + row * 3 * width + head * rope.head_dim + place.low;
      const Pair<T, kWidth> pair_q = load_pair<kWidth>(d_q + head * args.d_q.head + place.low, distance);
      const Pair<T, kWidth> pair_k = load_pair<kWidth>(d_k + head * args.d_k.head + place.low, distance);
      const Pair<T, kWidth> pair_v = load_pair<kWidth>(d_v + head * args.d_v.head + place.low, distance);
      Pair<T, kWidth> before = {};
      if (kScaled) before = load_pair<kWidth>(q, distance);
      store_pair(pair_v, q + 2 * width, distance);
      store_pair(rotated<kPartial>(pair_k, place.is_rotated, angles, -1.0f, rest, 1.0f), q + width, distance);
      if (kScaled) sum += dot(pair_q, before);
      store_pair(rotated<kPartial>(pair_q, place.is_rotated, angles, -1.0f, rest, c), q, distance);
    }
    if (!kScaled) continue;
    sum = warp_sum(sum, static_cast<int>(blockDim.x));
    if (is_row && threadIdx.x == 0) {
      args.d_row_scale[row * rope.heads + head] = num_keys == 1 ? 0.0f : sum / c;
    }
  }
}

// Calls body(whether there is a row scale, whether rotation is partial, both as constants).
template <typename T, typename Body>
void with_rope_flags(const RopeArgs<T>& args, const Body& body) {
  const auto with = [&](auto scaled) {
    if (args.rotation.dims == args.head_dim) {
      body(scaled, std::false_type());
    } else {
      body(scaled, std::true_type());
    }
  };
  if (args.row_scale.position != nullptr) {
    with(std::true_type());
  } else {
    with(std::false_type());
  }
}

template <typename T>
void rope_forward(const RopeArgs<T>& args, int64_t batch, Stream stream) {
  if (args.norm.q_gain != nullptr) {
    qk_norm_rope_forward(args, batch, stream);
    return;
  }
  const int64_t rows = batch * args.time;
  const bool is_aligned = is_vector_aligned(args.qkv) && is_vector_aligned<T>(args.rotation, args.head_dim);
  with_rope_grid<T>(is_aligned, rows, args.heads, args.head_dim, [&](auto width, dim3 grid, dim3 block) {
    with_rope_flags(args, [&](auto scaled, auto partial) {
      launch("rope_forward", rope_forward_kernel<T, width(), scaled(), partial()>, grid, block, stream, args,
             rows);
    });
  });
}

template <typename T>
void rope_backward(const RopeBackwardArgs<T>& args, const QkNormSums& sums, int64_t batch, Stream stream) {
  const RopeArgs<T>& rope = args.rope;
  if (rope.norm.q_gain != nullptr) {
    qk_norm_rope_backward(args, sums, batch, stream);
    return;
  }
  const int64_t rows = batch * rope.time;
  const bool is_aligned = is_vector_aligned(rope.qkv) && is_vector_aligned<T>(rope.rotation, rope.head_dim) &&
                          is_vector_aligned(args.d_q) && is_vector_aligned(args.d_k) &&
                          is_vector_aligned(args.d_v);
  with_rope_grid<T>(is_aligned, rows, rope.heads, rope.head_dim, [&](auto width, dim3 grid, dim3 block) {
    with_rope_flags(rope, [&](auto scaled, auto partial) {
      launch("rope_backward", rope_backward_kernel<T, width(), scaled(), partial()>, grid, block, stream,
             args, rows);
    });
  });
}

}  // namespace ssgpt::kernels::cuda
