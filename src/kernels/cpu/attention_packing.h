// What attention's forward and backward share: operands copied ("packed") into fp32 in the order in which the
// matmuls read them, the prefetch of those that are packed next, and the matmul of a tile and a panel.
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

// The part of a head that tokens [first, first + count) are; `count` is a whole number of tiles.
inline HeadShape part_of(const HeadShape& shape, int64_t first, int64_t count) {
  return {smaller(count, shape.time - first), shape.head_dim, count, shape.padded_dim};
}

// A tensor (batch, time, heads, head_dim) whose rows are `stride` apart.
template <typename T>
struct TokenRows {
  const T* first;
  int64_t stride;
};

// Prefetches rows into the L2 cache during matmuls, those of one token per call: what is packed or written
// after them, first of the head at hand, then of the next one. The rows of a head are far apart, which the
// hardware does not foresee.
template <typename T, int64_t kTensors>
class TokensAhead {
 public:
  // Heads [begin, end) of (batch, heads) flattened.
  TokensAhead(const TokenRows<T> (&rows)[kTensors], int64_t begin, int64_t end, int64_t time, int64_t heads,
              int64_t head_dim)
      : end_(end), time_(time), heads_(heads), head_dim_(head_dim) {
    for (int64_t i = 0; i < kTensors; ++i) rows_[i] = rows[i];
    move_to(begin, 0);
  }

  // From now on calls prefetch tokens [token, token + count) of head `index` that they have not yet; tokens
  // beyond a head's last are those of the next head.
  void advance_to(int64_t index, int64_t token, int64_t count) {
    const int64_t position = index * time_ + token;
    limit_ = position + count;
    if (index_ * time_ + token_ < position) move_to(index, token);
  }

  void operator()() {
    if (index_ == end_ || index_ * time_ + token_ >= limit_) return;
    constexpr auto kLine = static_cast<int64_t>(64 / sizeof(T));
    for (const TokenRows<T>& rows : rows_) {
      const T* row = rows.first + (first_row_ + token_) * rows.stride + column_;
      for (int64_t h = 0; h < head_dim_; h += kLine) __builtin_prefetch(row + h, 0, 2);
    }
    move_to(index_, token_ + 1);
  }

 private:
  void move_to(int64_t index, int64_t token) {
    const bool is_next = token == time_;
    token_ = is_next ? 0 : token;
    if (index_ == index + is_next) return;
    index_ = index + is_next;
    first_row_ = index_ / heads_ * time_;
    column_ = index_ % heads_ * head_dim_;
  }

  TokenRows<T> rows_[kTensors];
  int64_t end_;
  int64_t time_, heads_, head_dim_;
  int64_t index_ = -1, token_ = 0, limit_ = 0;
  int64_t first_row_ = 0, column_ = 0;  // of head `index_`
};

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
    const int64_t count = t < shape.time ? shape.head_dim : 0;
    for (int64_t h = 0; h < count; ++h) to[h] = factor * load(from[t * stride + h]);
    for (int64_t h = count; h < shape.padded_dim; ++h) to[h] = 0.0f;
  }
}

// scores[row, key] = <row of a tile, key of a panel>, for all keys of the panel, or for those of its first
// vector if the others are not among its first `columns`: what stands in place of the others has no meaning.
template <int64_t kAhead, typename Meanwhile>
void multiply_panel(int64_t head_dim, const float* tile, const float* panel, int64_t columns, float* scores,
                    int64_t stride, Meanwhile& meanwhile) {
  if (columns > kLanes) {
    micro_product<1, kMicroRows, kAhead>(head_dim, tile, panel, kMicroColumns, scores, stride, false,
                                         meanwhile);
  } else {
    micro_product<1, kMicroRows, kAhead, kMicroRows, 1>(head_dim, tile, panel, kMicroColumns, scores, stride,
                                                        false, meanwhile);
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
