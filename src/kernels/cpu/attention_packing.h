// Operands of attention, copied ("packed") once into fp32 in the order in which the matmuls read them.
#pragma once

#include "kernels/cpu/micro_product.h"
#include "kernels/cpu/vector_math.h"

namespace ssgpt::kernels::cpu::SSGPT_ISA {

static_assert(kAttentionBlock % kMicroRows == 0 && kAttentionBlock % kMicroColumns == 0);
static_assert(kAttentionBlock % kAttentionHeadAlignment == 0 && kAttentionHeadAlignment % kMicroColumns == 0);

// Sizes of one head, rounded up to whole tiles; padding is zero.
struct HeadShape {
  int64_t time, head_dim;
  int64_t padded_time, padded_dim;
};

inline HeadShape head_shape(int64_t time, int64_t head_dim) {
  return {time, head_dim, round_up(time, kAttentionBlock), round_up(head_dim, kAttentionHeadAlignment)};
}

// Prefetches `count` rows of a head into the L1 cache: they are far apart, which the hardware does not
// foresee.
template <typename T>
void prefetch_rows(const T* from, int64_t stride, int64_t count, int64_t head_dim) {
  constexpr auto kLine = static_cast<int64_t>(64 / sizeof(T));
  for (int64_t row = 0; row < count; ++row) {
    for (int64_t h = 0; h < head_dim; h += kLine) __builtin_prefetch(from + row * stride + h);
  }
}
// Rows by which loops over single rows prefetch ahead.
constexpr int64_t kRowsAhead = 16;

// to[h * kWidth + t] = factor * from[t, h] for t < kCount; 0 where t >= count.
template <int64_t kWidth, int64_t kCount, typename T>
void transpose_tokens(const T* from, int64_t stride, int64_t count, int64_t head_dim, float factor,
                      float* to) {
  static_assert(kCount <= kLanes);
  int64_t h = 0;
  for (; h + kLanes <= head_dim; h += kLanes) {
    Vector rows[kLanes];
    for (int64_t t = 0; t < kLanes; ++t) {
      rows[t] = t < kCount && t < count ? factor * load_lanes(from + t * stride + h) : Vector{};
    }
    transpose_square(rows);
    for (int64_t i = 0; i < kLanes; ++i) {
      __builtin_memcpy(to + (h + i) * kWidth, &rows[i], kCount * sizeof(float));
    }
  }
  for (; h < head_dim; ++h) {
    for (int64_t t = 0; t < kCount; ++t) {
      to[h * kWidth + t] = t < count ? factor * load(from[t * stride + h]) : 0.0f;
    }
  }
}

// to[t / kWidth, h, t % kWidth] = factor * from[t, h] for t < time; 0 up to the next multiple of `alignment`,
// itself a multiple of kWidth.
template <int64_t kWidth, typename T>
void pack_columns(const T* from, int64_t stride, int64_t time, int64_t head_dim, float factor,
                  int64_t alignment, float* to) {
  constexpr int64_t kWhole = kWidth / kLanes * kLanes;
  constexpr int64_t kRest = kWidth - kWhole;
  for (int64_t t = 0; t < round_up(time, alignment); t += kWidth, to += kWidth * head_dim) {
    if (t + kWidth < time) {
      prefetch_rows(from + (t + kWidth) * stride, stride, smaller(kWidth, time - t - kWidth), head_dim);
    }
    for (int64_t i = 0; i < kWhole; i += kLanes) {
      transpose_tokens<kWidth, kLanes>(from + (t + i) * stride, stride, time - t - i, head_dim, factor,
                                       to + i);
    }
    if constexpr (kRest > 0) {
      transpose_tokens<kWidth, kRest>(from + (t + kWhole) * stride, stride, time - t - kWhole, head_dim,
                                      factor, to + kWhole);
    }
  }
}

// to[t, h] = factor * from[t, h], 0 in the padding.
template <typename T>
void pack_rows(const T* from, int64_t stride, const HeadShape& shape, float factor, float* to) {
  for (int64_t t = 0; t < shape.padded_time; ++t, to += shape.padded_dim) {
    if (t + kRowsAhead < shape.time)
      prefetch_rows(from + (t + kRowsAhead) * stride, stride, 1, shape.head_dim);
    const int64_t count = t < shape.time ? shape.head_dim : 0;
    for (int64_t h = 0; h < count; ++h) to[h] = factor * load(from[t * stride + h]);
    for (int64_t h = count; h < shape.padded_dim; ++h) to[h] = 0.0f;
  }
}

// to[t, h] = factor * from[t, h], rounded to the data type.
template <typename T>
void unpack_rows(const float* from, const HeadShape& shape, float factor, T* to, int64_t stride) {
  for (int64_t t = 0; t < shape.time; ++t, from += shape.padded_dim, to += stride) {
#pragma omp simd
    for (int64_t h = 0; h < shape.head_dim; ++h) store(to[h], factor * from[h]);
  }
}

}  // namespace ssgpt::kernels::cpu::SSGPT_ISA
