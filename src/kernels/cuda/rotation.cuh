// Building blocks of the RoPE kernels: pairs of vectors that rotate together, and their thread layout. With
// partial rotation, the unrotated rest is also split in halves and handled by the threads after those that
// rotate.
#pragma once

#include "kernels/cuda/launch.cuh"

#include <algorithm>
#include <cstdint>
#include <type_traits>

namespace ssgpt::kernels::cuda {

constexpr int kRopeThreads = 256;
constexpr int kRopeMostHeads = 8;  // heads of a row that get threads of their own
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

// A head's pairs of elements: the first `rotated` of `half` are rotated, the others are not.
struct PairsOfHead {
  int64_t rotated, half;
};

// Position of a pair's two elements within the head.
struct PairPlace {
  int64_t low;
  int64_t distance;  // from the first element to the second
  bool is_rotated;
};

template <bool kPartial>
__device__ inline PairPlace place_of(int64_t pair, const PairsOfHead& pairs) {
  if (!kPartial || pair < pairs.rotated) return {.low = pair, .distance = pairs.rotated, .is_rotated = true};
  return {.low = pairs.rotated + pair, .distance = pairs.half - pairs.rotated, .is_rotated = false};
}

// A vector of a head's lower half and the one of the upper half that rotates with it.
template <typename T, int kWidth>
struct Pair {
  Words<T, kWidth> low;
  Words<T, kWidth> high;
};

template <int kWidth, typename T>
__device__ inline Pair<T, kWidth> load_pair(const T* from, int64_t distance) {
  return {load_words<kWidth>(from), load_words<kWidth>(from + distance)};
}

template <typename T, int kWidth>
__device__ inline void store_pair(const Pair<T, kWidth>& pair, T* to, int64_t distance) {
  store_words(pair.low, to);
  store_words(pair.high, to + distance);
}

// A pair of vectors in fp32.
template <int kWidth>
struct FloatsPair {
  Floats<kWidth> low;
  Floats<kWidth> high;
};
template <typename T, int kWidth>
__device__ inline FloatsPair<kWidth> floats_of(const Pair<T, kWidth>& x) {
  return {x.low.floats(), x.high.floats()};
}
template <typename T, int kWidth>
__device__ inline Pair<T, kWidth> words_of(const FloatsPair<kWidth>& x) {
  return {to_words<T>(x.low), to_words<T>(x.high)};
}

// Rotates by `sign` (1 or -1) times the angles, then multiplies by `factor`.
template <int kWidth>
__device__ inline void rotate(FloatsPair<kWidth>& x, const Angles<kWidth>& angles, float sign, float factor) {
  for (int i = 0; i < kWidth; ++i) {
    const float sin = sign * angles.sin[i];
    const float rotated = x.low.values[i] * angles.cos[i] - x.high.values[i] * sin;
    x.high.values[i] = (x.high.values[i] * angles.cos[i] + x.low.values[i] * sin) * factor;
    x.low.values[i] = rotated * factor;
  }
}
template <int kWidth>
__device__ inline void multiply(FloatsPair<kWidth>& x, float factor) {
  for (int i = 0; i < kWidth; ++i) {
    x.low.values[i] *= factor;
    x.high.values[i] *= factor;
  }
}

// Likewise for a pair that may be an unrotated one, multiplied by `rest` instead.
template <bool kPartial, int kWidth>
__device__ inline void turn(FloatsPair<kWidth>& x, bool is_rotated, const Angles<kWidth>& angles, float sign,
                            float rest, float factor) {
  if (!kPartial || is_rotated) {
    rotate(x, angles, sign, factor);
  } else {
    multiply(x, rest * factor);
  }
}
template <bool kPartial, typename T, int kWidth>
__device__ inline Pair<T, kWidth> rotated(const Pair<T, kWidth>& x, bool is_rotated,
                                          const Angles<kWidth>& angles, float sign, float rest,
                                          float factor) {
  FloatsPair<kWidth> floats = floats_of(x);
  turn<kPartial>(floats, is_rotated, angles, sign, rest, factor);
  return words_of<T>(floats);
}

template <bool kPartial>
__device__ inline PairsOfHead pairs_of_head(const RotationView& rotation, int64_t head_dim) {
  return {.rotated = kPartial ? rotation.dims / 2 : head_dim / 2, .half = head_dim / 2};
}

// x: lanes per head, a power of two.  y: heads, a power of two that divides their number.  z: rows.
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

// Whether the rotated pairs and the rest both come in whole vectors.
template <typename T>
bool is_vector_aligned(const RotationView& rotation, int64_t head_dim) {
  return is_vector_aligned(rotation.cos) && is_vector_aligned(rotation.sin) &&
         rotation.dims / 2 % kVector<T> == 0 && head_dim / 2 % kVector<T> == 0;
}

// Calls body(vector width as a constant, blocks, threads per block).
template <typename T, typename Body>
void with_rope_grid(bool is_aligned, int64_t rows, int64_t heads, int64_t head_dim, const Body& body) {
  if (rows == 0 || heads == 0 || head_dim == 0) return;
  const auto with = [&]<int kWidth>(std::integral_constant<int, kWidth> width) {
    const dim3 block = rope_block(head_dim / 2 / kWidth, heads);
    const dim3 grid(static_cast<unsigned>(divide_up(rows, block.z)));
    body(width, grid, block);
  };
  if (is_aligned) {
    with(std::integral_constant<int, kVector<T>>());
  } else {
    with(std::integral_constant<int, 1>());
  }
}

}  // namespace ssgpt::kernels::cuda
