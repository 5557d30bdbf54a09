// Inner loop (micro-kernel) of blocked GEMM: a tile of kMicroRows x kMicroColumns, held in registers.
#pragma once

#include <stdint.h>

#if defined(__AVX__)
#include <immintrin.h>
#endif

namespace ssgpt::kernels::cpu::SSGPT_ISA {

// The tile fills the registers: rows x two vectors of sums, two vectors of b, one broadcast of a.
#if defined(__AVX512F__)
constexpr int64_t kVectorBytes = 64;
constexpr int64_t kMicroRows = 12;
#elif defined(__AVX__)
constexpr int64_t kVectorBytes = 32;
constexpr int64_t kMicroRows = 6;
#else
constexpr int64_t kVectorBytes = 16;
constexpr int64_t kMicroRows = 6;
#endif
constexpr int64_t kLanes = kVectorBytes / 4;
constexpr int64_t kMicroColumns = 2 * kLanes;

typedef float Vector __attribute__((vector_size(kVectorBytes)));
typedef float UnalignedVector __attribute__((vector_size(kVectorBytes), aligned(4), may_alias));

inline int64_t smaller(int64_t a, int64_t b) {
  return a < b ? a : b;
}
inline int64_t larger(int64_t a, int64_t b) {
  return a > b ? a : b;
}

inline Vector load_vector(const float* from) {
  return *reinterpret_cast<const UnalignedVector*>(from);
}
inline void store_vector(float* to, Vector value) {
  *reinterpret_cast<UnalignedVector*>(to) = value;
}

// Lane i of a goes to 2 i, lane i of b to 2 i + 1: the lower and the upper half of the result.
#if defined(__AVX512F__)
inline Vector interleave_low(Vector a, Vector b) {
  return __builtin_shufflevector(a, b, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
}
inline Vector interleave_high(Vector a, Vector b) {
  return __builtin_shufflevector(a, b, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
}
#elif defined(__AVX__)
inline Vector interleave_low(Vector a, Vector b) {
  return __builtin_shufflevector(a, b, 0, 8, 1, 9, 2, 10, 3, 11);
}
inline Vector interleave_high(Vector a, Vector b) {
  return __builtin_shufflevector(a, b, 4, 12, 5, 13, 6, 14, 7, 15);
}
#else
inline Vector interleave_low(Vector a, Vector b) {
  return __builtin_shufflevector(a, b, 0, 4, 1, 5);
}
inline Vector interleave_high(Vector a, Vector b) {
  return __builtin_shufflevector(a, b, 2, 6, 3, 7);
}
#endif

// Lane-wise maximum or minimum; a's lane where either is NaN. By name, as gcc takes two instructions for the
// comparison; with a mask of all lanes, as gcc 12 warns of an undefined value in the intrinsics without one.
inline Vector larger_lanes(Vector a, Vector b) {
#if defined(__AVX512F__)
  return _mm512_maskz_max_ps(0xffff, b, a);
#elif defined(__AVX__)
  return _mm256_max_ps(b, a);
#else
  return b > a ? b : a;
#endif
}
inline Vector smaller_lanes(Vector a, Vector b) {
#if defined(__AVX512F__)
  return _mm512_maskz_min_ps(0xffff, b, a);
#elif defined(__AVX__)
  return _mm256_min_ps(b, a);
#else
  return b < a ? b : a;
#endif
}
inline Vector sum_of_lanes(Vector a, Vector b) {
  return a + b;
}

template <int64_t kStep>
Vector rotate_lanes(Vector values) {
  typedef int32_t Indices __attribute__((vector_size(kVectorBytes)));
  Indices from;
  for (int64_t lane = 0; lane < kLanes; ++lane) from[lane] = static_cast<int32_t>((lane + kStep) % kLanes);
  return __builtin_shuffle(values, from);
}
// Reduces all lanes by combine(a, b): in pairs, then pairs of pairs and so on.
template <int64_t kStep = kLanes / 2, typename Combine>
float fold_lanes(Vector values, const Combine& combine) {
  const Vector folded = combine(values, rotate_lanes<kStep>(values));
  if constexpr (kStep == 1) {
    return folded[0];
  } else {
    return fold_lanes<kStep / 2>(folded, combine);
  }
}

// Transposes a square of kLanes rows. Interleaving rows i and i + kLanes / 2 rotates the bits of an element's
// (row, lane) index by one; log2(kLanes) rotations exchange row and lane.
inline void transpose_square(Vector (&rows)[kLanes]) {
#pragma GCC unroll 4
  for (int64_t stage = 1; stage < kLanes; stage *= 2) {
    Vector next[kLanes];
#pragma GCC unroll 8
    for (int64_t i = 0; i < kLanes / 2; ++i) {
      next[2 * i] = interleave_low(rows[i], rows[i + kLanes / 2]);
      next[2 * i + 1] = interleave_high(rows[i], rows[i + kLanes / 2]);
    }
#pragma GCC unroll 16
    for (int64_t i = 0; i < kLanes; ++i) rows[i] = next[i];
  }
}

// A micro_product calls an object like this every kStretch k, for example to prefetch.
struct Nothing {
  void operator()() const {}
};
constexpr int64_t kStretch = 16;

// c[r, n] = (or += where `accumulate`) sum over k < depth of a[r * kRowStep + k * kDepthStep] * b[k *
// b_stride + n] for r < kRows and n < kVectors * kLanes; row r of c is at c + r * c_stride. If kAhead is not
// 0, b is prefetched that many k ahead.
template <int64_t kRowStep, int64_t kDepthStep, int64_t kAhead = 0, int64_t kRows = kMicroRows,
          int64_t kVectors = 2, typename Meanwhile = Nothing>
inline void micro_product(int64_t depth, const float* a, const float* b, int64_t b_stride, float* c,
                          int64_t c_stride, bool accumulate, Meanwhile&& meanwhile = {}) {
  Vector sums[kRows][kVectors];
  for (int64_t r = 0; r < kRows; ++r) {
    for (int64_t v = 0; v < kVectors; ++v) sums[r][v] = Vector{};
  }
  for (int64_t k = 0; k < depth; ++k, a += kDepthStep, b += b_stride) {
    if (k % kStretch == 0) meanwhile();
    Vector columns[kVectors];
#pragma GCC unroll 2
    for (int64_t v = 0; v < kVectors; ++v) columns[v] = load_vector(b + v * kLanes);
    if constexpr (kAhead > 0) {
#pragma GCC unroll 2
      for (int64_t line = 0; line < kVectors * kLanes; line += 16)
        __builtin_prefetch(b + kAhead * b_stride + line);
    }
#pragma GCC unroll 12
    for (int64_t r = 0; r < kRows; ++r) {
      const float factor = a[r * kRowStep];
#pragma GCC unroll 2
      for (int64_t v = 0; v < kVectors; ++v) sums[r][v] += factor * columns[v];
    }
  }
#pragma GCC unroll 12
  for (int64_t r = 0; r < kRows; ++r) {
#pragma GCC unroll 2
    for (int64_t v = 0; v < kVectors; ++v) {
      float* to = c + r * c_stride + v * kLanes;
      store_vector(to, accumulate ? load_vector(to) + sums[r][v] : sums[r][v]);
    }
  }
}

}  // namespace ssgpt::kernels::cpu::SSGPT_ISA
