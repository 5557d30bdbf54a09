// Rotary positions with the row scale of attention, both ways. A thread rotates one vector of each half of
// several heads of a row, so that it reads the row's cos and sin once.
#pragma once

#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/row_scale.cuh"

#include <algorithm>
#include <cstdint>
#include <type_traits>

namespace ssgpt::kernels::cuda {

constexpr int kRopeThreads = 256;
constexpr int kRopeMostHeads = 8;  // of a row that threads of their own take
constexpr int kMostThreadsInZ = 64;

template <int kWidth>
struct Angles {
  float cos[kWidth];
  float sin[kWidth];
};

template <int kWidth>
__device__ inline void load_floats(const float* from, float (&to)[kWidth]) {
  constexpr int kPart = kWidth < kVector<float> ? kWidth : kVector<float>;
  for (int i = 0; i < kWidth; i += kPart) {
    const Pack<float, kPart> pack = load_pack<kPart>(from + i);
    for (int j = 0; j < kPart; ++j) to[i + j] = pack.values[j];
  }
}

template <int kWidth>
__device__ inline Angles<kWidth> load_angles(const float* cos, const float* sin) {
  Angles<kWidth> angles;
  load_floats(cos, angles.cos);
  load_floats(sin, angles.sin);
  return angles;
}

// A vector of the lower half of a head and that of the upper half which turns with it.
template <typename T, int kWidth>
struct Pair {
  Words<T, kWidth> low;
  Words<T, kWidth> high;
};

template <int kWidth, typename T>
__device__ inline Pair<T, kWidth> load_pair(const T* from, int64_t half) {
  return {load_words<kWidth>(from), load_words<kWidth>(from + half)};
}

template <typename T, int kWidth>
__device__ inline void store_pair(const Pair<T, kWidth>& pair, T* to, int64_t half) {
  store_words(pair.low, to);
  store_words(pair.high, to + half);
}

// Turns by `sign` (1 or -1) times the angles, then multiplies.
template <typename T, int kWidth>
__device__ inline Pair<T, kWidth> rotated(const Pair<T, kWidth>& x, const Angles<kWidth>& angles, float sign,
                                          float factor) {
  Floats<kWidth> low = x.low.floats();
  Floats<kWidth> high = x.high.floats();
  for (int i = 0; i < kWidth; ++i) {
    const float sin = sign * angles.sin[i];
    const float turned = low.values[i] * angles.cos[i] - high.values[i] * sin;
    high.values[i] = (high.values[i] * angles.cos[i] + low.values[i] * sin) * factor;
    low.values[i] = turned * factor;
  }
  return {to_words<T>(low), to_words<T>(high)};
}

template <typename T, int kWidth, bool kScaled>
__global__ void __launch_bounds__(kRopeThreads)
    rope_forward_kernel(T* qkv, const float* cos, const float* sin, const int32_t* num_keys,
                        RowScaleView row_scale, int64_t rows, int64_t time, int64_t heads, int64_t head_dim) {
  const int64_t row = int64_t{blockIdx.x} * blockDim.z + threadIdx.z;
  if (row >= rows) return;
  const int64_t half = head_dim / 2;
  // Rows fit 32 bits, in which a division is short.
  const int64_t angle = static_cast<uint32_t>(row) % static_cast<uint32_t>(time) * half;
  const float position = kScaled ? position_at(row_scale, num_keys[row]) : 1.0f;
  T* q = qkv + row * 3 * heads * head_dim;
  for (int64_t i = int64_t{threadIdx.x} * kWidth; i < half; i += int64_t{blockDim.x} * kWidth) {
    const Angles<kWidth> angles = load_angles<kWidth>(cos + angle + i, sin + angle + i);
    for (int64_t head = threadIdx.y; head < heads; head += blockDim.y) {
      T* head_q = q + head * head_dim + i;
      T* head_k = head_q + heads * head_dim;
      const float c = kScaled ? row_scale_at(row_scale, position, head) : 1.0f;
      const Pair<T, kWidth> pair_q = load_pair<kWidth>(head_q, half);
      const Pair<T, kWidth> pair_k = load_pair<kWidth>(head_k, half);
      store_pair(rotated(pair_q, angles, 1.0f, c), head_q, half);
      store_pair(rotated(pair_k, angles, 1.0f, 1.0f), head_k, half);
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

// The threads of a head are neighbouring lanes, blockDim.x of them, a power of two; blockDim.y divides the
// heads: so all lanes of a warp take part in its sums.
template <typename T, int kWidth, bool kScaled>
__global__ void __launch_bounds__(kRopeThreads) rope_backward_kernel(RopeBackwardArgs<T> args, int64_t rows) {
  const int64_t row = int64_t{blockIdx.x} * blockDim.z + threadIdx.z;
  const bool is_row = row < rows;
  const int64_t half = args.head_dim / 2;
  const int64_t b = static_cast<uint32_t>(row) / static_cast<uint32_t>(args.time);
  const int64_t t = row - b * args.time;
  const int64_t width = args.heads * args.head_dim;
  const int64_t begin = int64_t{threadIdx.x} * kWidth;
  const int64_t end = is_row ? half : 0;
  const float* cos = args.cos + t * half;
  const float* sin = args.sin + t * half;
  const T* d_q = args.d_q.data + b * args.d_q.batch + t * args.d_q.time;
  const T* d_k = args.d_k.data + b * args.d_k.batch + t * args.d_k.time;
  const T* d_v = args.d_v.data + b * args.d_v.batch + t * args.d_v.time;
  const int32_t num_keys = kScaled && is_row ? args.num_keys[row] : 1;
  const float position = kScaled ? position_at(args.row_scale, num_keys) : 1.0f;
  Angles<kWidth> angles = {};
  if (begin < end) angles = load_angles<kWidth>(cos + begin, sin + begin);
  for (int64_t head = threadIdx.y; head < args.heads; head += blockDim.y) {
    const float c = kScaled ? row_scale_at(args.row_scale, position, head) : 1.0f;
    float sum = 0.0f;
    for (int64_t i = begin; i < end; i += int64_t{blockDim.x} * kWidth) {
      // One vector is all that a thread has of a head, unless heads are longer than a warp's vectors.
      if (half > int64_t{blockDim.x} * kWidth) angles = load_angles<kWidth>(cos + i, sin + i);
      T* q = args.qkv + row * 3 * width + head * args.head_dim + i;
      const Pair<T, kWidth> pair_q = load_pair<kWidth>(d_q + head * args.d_q.head + i, half);
      const Pair<T, kWidth> pair_k = load_pair<kWidth>(d_k + head * args.d_k.head + i, half);
      const Pair<T, kWidth> pair_v = load_pair<kWidth>(d_v + head * args.d_v.head + i, half);
      Pair<T, kWidth> before = {};
      if (kScaled) before = load_pair<kWidth>(q, half);
      store_pair(pair_v, q + 2 * width, half);
      store_pair(rotated(pair_k, angles, -1.0f, 1.0f), q + width, half);
      if (kScaled) sum += dot(pair_q, before);
      store_pair(rotated(pair_q, angles, -1.0f, c), q, half);
    }
    if (!kScaled) continue;
    sum = warp_sum(sum, static_cast<int>(blockDim.x));
    if (is_row && threadIdx.x == 0) {
      args.d_row_scale[row * args.heads + head] = num_keys == 1 ? 0.0f : sum / c;
    }
  }
}

// x: the lanes of a head, a power of two.  y: heads, a power of two that divides their number.  z: rows.
inline dim3 rope_block(int64_t vectors, int64_t heads) {
  int64_t lanes = 1;
  while (lanes < vectors && lanes < kWarp) lanes *= 2;
  int64_t across = 1;
  while (heads % (2 * across) == 0 && across < kRopeMostHeads) across *= 2;
  const int64_t rows = std::min<int64_t>(kMostThreadsInZ, kRopeThreads / (lanes * across));
  return {static_cast<unsigned>(lanes), static_cast<unsigned>(across), static_cast<unsigned>(rows)};
}

template <typename T>
bool is_vector_aligned(const T* pointer) {
  return reinterpret_cast<uintptr_t>(pointer) % (kVector<T> * sizeof(T)) == 0;
}

template <typename T>
bool is_vector_aligned(const HeadsView<T>& view) {
  return is_vector_aligned(view.data) && view.batch % kVector<T> == 0 && view.head % kVector<T> == 0 &&
         view.time % kVector<T> == 0;
}

// Calls body(width of a vector, whether there is a row scale, both as constants; blocks, threads of a block).
template <typename T, typename Body>
void with_rope_grid(bool is_aligned, bool is_scaled, int64_t rows, int64_t heads, int64_t half,
                    const Body& body) {
  if (rows == 0 || heads == 0 || half == 0) return;
  const auto with = [&]<int kWidth>(std::integral_constant<int, kWidth> width) {
    const dim3 block = rope_block(half / kWidth, heads);
    const dim3 grid(static_cast<unsigned>(divide_up(rows, block.z)));
    if (is_scaled) {
      body(width, std::true_type(), grid, block);
    } else {
      body(width, std::false_type(), grid, block);
    }
  };
  if (is_aligned && half % kVector<T> == 0) {
    with(std::integral_constant<int, kVector<T>>());
  } else {
    with(std::integral_constant<int, 1>());
  }
}

template <typename T>
void rope_forward(T* qkv, const float* cos, const float* sin, const int32_t* num_keys, RowScaleView row_scale,
                  int64_t batch, int64_t time, int64_t heads, int64_t head_dim, Stream stream) {
  const bool is_aligned = is_vector_aligned(qkv) && is_vector_aligned(cos) && is_vector_aligned(sin);
  with_rope_grid<T>(is_aligned, row_scale.position != nullptr, batch * time, heads, head_dim / 2,
                    [&](auto width, auto scaled, dim3 grid, dim3 block) {
                      launch("rope_forward", rope_forward_kernel<T, width(), scaled()>, grid, block, stream,
                             qkv, cos, sin, num_keys, row_scale, batch * time, time, heads, head_dim);
                    });
}

template <typename T>
void rope_backward(const RopeBackwardArgs<T>& args, int64_t batch, Stream stream) {
  const bool is_aligned = is_vector_aligned(args.qkv) && is_vector_aligned(args.cos) &&
                          is_vector_aligned(args.sin) && is_vector_aligned(args.d_q) &&
                          is_vector_aligned(args.d_k) && is_vector_aligned(args.d_v);
  const int64_t rows = batch * args.time;
  with_rope_grid<T>(is_aligned, args.row_scale.position != nullptr, rows, args.heads, args.head_dim / 2,
                    [&](auto width, auto scaled, dim3 grid, dim3 block) {
                      launch("rope_backward", rope_backward_kernel<T, width(), scaled()>, grid, block, stream,
                             args, rows);
                    });
}

}  // namespace ssgpt::kernels::cuda
