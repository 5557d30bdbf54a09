// Causal attention of one head of one sequence, forward and backward, in blocks that stay in the caches. All
// arithmetic is fp32; operands are copied ("packed") once into the order in which the products read them.
#pragma once

#include "kernels/cpu/micro_product.h"
#include "kernels/cpu/vector_math.h"

namespace ssgpt::kernels::cpu::SSGPT_ISA {

static_assert(kAttentionBlock % kMicroRows == 0 && kAttentionBlock % kMicroColumns == 0);
static_assert(kAttentionBlock % kAttentionHeadAlignment == 0 && kAttentionHeadAlignment % kMicroColumns == 0);

// Sizes of one head, rounded up to whole tiles; what is beyond the true size is zero.
struct HeadShape {
  int64_t time, head_dim;
  int64_t padded_time, padded_dim;
};

inline HeadShape head_shape(int64_t time, int64_t head_dim) {
  return {time, head_dim, round_up(time, kAttentionBlock), round_up(head_dim, kAttentionHeadAlignment)};
}

inline int64_t smaller(int64_t a, int64_t b) {
  return a < b ? a : b;
}
inline int64_t larger(int64_t a, int64_t b) {
  return a > b ? a : b;
}

inline Vector load_lanes(const float* from) {
  return load_vector(from);
}
inline Vector load_lanes(const Bfloat16* from) {
  Vector values;
  for (int64_t i = 0; i < kLanes; ++i) values[i] = load(from[i]);
  return values;
}

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
// which is one of kWidth.
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

// to[t, h] = factor * from[t, h], 0 where t or h is beyond the true size.
template <typename T>
void pack_rows(const T* from, int64_t stride, const HeadShape& shape, float factor, float* to) {
  for (int64_t t = 0; t < shape.padded_time; ++t, to += shape.padded_dim) {
    const int64_t count = t < shape.time ? shape.head_dim : 0;
    for (int64_t h = 0; h < count; ++h) to[h] = factor * load(from[t * stride + h]);
    for (int64_t h = count; h < shape.padded_dim; ++h) to[h] = 0.0f;
  }
}

// from[t, h] times `factor`, rounded to the data type.
template <typename T>
void unpack_rows(const float* from, const HeadShape& shape, float factor, T* to, int64_t stride) {
  for (int64_t t = 0; t < shape.time; ++t, from += shape.padded_dim, to += stride) {
#pragma omp simd
    for (int64_t h = 0; h < shape.head_dim; ++h) store(to[h], factor * from[h]);
  }
}

inline void fill_zero(float* values, int64_t begin, int64_t end) {
  if (end > begin) __builtin_memset(values + begin, 0, static_cast<uint64_t>(end - begin) * sizeof(float));
}

// Scores of a tile of queries, in blocks of keys: element (r, j) at [j / block, r, j % block].
inline float* score_at(float* scores, int64_t row, int64_t key) {
  return scores + (key / kAttentionBlock * kMicroRows + row) * kAttentionBlock + key % kAttentionBlock;
}
inline int64_t next_block(int64_t key) {
  return (key / kAttentionBlock + 1) * kAttentionBlock;
}

inline void hide(float* scores, int64_t row, int64_t begin, int64_t end) {
  for (int64_t key = begin; key < end; ++key) *score_at(scores, row, key) = -__builtin_inff();
}

// The scores of a row over keys [begin, end), whole panels, become exp(score - maximum). Returns their sum,
// and the maximum in *maximum.
inline float softmax_row(float* scores, int64_t row, int64_t begin, int64_t end, float* maximum) {
  float most = -__builtin_inff();
  for (int64_t key = begin; key < end; key = next_block(key)) {
    const float* values = score_at(scores, row, key);
    const int64_t count = smaller(next_block(key), end) - key;
#pragma omp simd reduction(max : most)
    for (int64_t i = 0; i < count; ++i) most = values[i] > most ? values[i] : most;
  }
  float sum = 0.0f;
  for (int64_t key = begin; key < end; key = next_block(key)) {
    float* values = score_at(scores, row, key);
    const int64_t count = smaller(next_block(key), end) - key;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < count; ++i) {
      values[i] = exp(values[i] - most);
      sum += values[i];
    }
  }
  *maximum = most;
  return sum;
}

template <typename T>
void attention_forward(const AttentionForwardArgs<T>& args, int64_t batch, int64_t head, float* workspace) {
  const HeadShape shape = head_shape(args.time, args.head_dim);
  const int64_t stride = 3 * args.heads * args.head_dim;
  const T* q = args.qkv + batch * args.time * stride + head * args.head_dim;
  const int32_t* num_keys = args.num_keys + batch * args.time;
  T* out = args.out + (batch * args.time * args.heads + head) * args.head_dim;
  float* logsumexp = args.logsumexp + (batch * args.heads + head) * args.time;

  float* keys = workspace;
  float* values = keys + shape.padded_time * shape.head_dim;
  float* scores = values + shape.padded_time * shape.padded_dim;
  float* queries = scores + shape.padded_time * kMicroRows;
  float* sums = queries + kMicroRows * shape.head_dim;
  pack_columns<kMicroColumns>(q + args.heads * args.head_dim, stride, args.time, args.head_dim, 1.0f,
                              kAttentionBlock, keys);
  pack_rows(q + 2 * args.heads * args.head_dim, stride, shape, 1.0f, values);

  for (int64_t tile = 0; tile < args.time; tile += kMicroRows) {
    const int64_t rows = smaller(kMicroRows, args.time - tile);
    const int64_t first_key = tile + 1 - num_keys[tile];  // never falls along the sequence
    const int64_t begin = first_key / kMicroColumns * kMicroColumns;
    const int64_t end = round_up(tile + rows, kMicroColumns);
    pack_columns<kMicroRows>(q + tile * stride, stride, rows, args.head_dim, args.softmax_scale, kMicroRows,
                             queries);
    for (int64_t key = begin; key < end; key += kMicroColumns) {
      micro_product<1, kMicroRows>(args.head_dim, queries, keys + key * args.head_dim, kMicroColumns,
                                   score_at(scores, 0, key), kAttentionBlock, false);
    }
    float inverse_sums[kMicroRows];
    for (int64_t row = 0; row < rows; ++row) {
      const int64_t query = tile + row;
      hide(scores, row, begin, query + 1 - num_keys[query]);
      hide(scores, row, query + 1, end);
      float maximum = 0.0f;
      const float sum = softmax_row(scores, row, begin, end, &maximum);
      inverse_sums[row] = 1.0f / sum;
      logsumexp[query] = maximum + __builtin_logf(sum);
    }
    for (int64_t key = begin; key < end; key = next_block(key)) {
      const int64_t depth = smaller(next_block(key), tile + rows) - key;
      for (int64_t column = 0; column < args.head_dim; column += kMicroColumns) {
        micro_product<kAttentionBlock, 1>(depth, score_at(scores, 0, key),
                                          values + key * shape.padded_dim + column, shape.padded_dim,
                                          sums + column, shape.padded_dim, key != begin);
      }
    }
    for (int64_t row = 0; row < rows; ++row) {
      T* to = out + (tile + row) * args.heads * args.head_dim;
      const float* from = sums + row * shape.padded_dim;
#pragma omp simd
      for (int64_t h = 0; h < args.head_dim; ++h) store(to[h], from[h] * inverse_sums[row]);
    }
  }
}

// The operands of one head's backward, as the products read them. Queries carry the softmax scale.
struct PackedBackward {
  float *query_tiles, *d_out_tiles;           // (time / kMicroRows, head_dim, kMicroRows)
  float *key_panels, *value_panels;           // (time / kMicroColumns, head_dim, kMicroColumns)
  float *query_rows, *key_rows, *d_out_rows;  // (padded_time, padded_dim)
  float *d_query, *d_key, *d_value;           // (padded_time, padded_dim), sums
  float *probabilities, *d_scores;            // (kAttentionBlock, kAttentionBlock): queries, keys
  float* dots;                                // (padded_time): <d_out, out>
};

inline PackedBackward divide_workspace(float* workspace, const HeadShape& shape) {
  const auto take = [&workspace](int64_t count) {
    float* const taken = workspace;
    workspace += count;
    return taken;
  };
  const int64_t narrow = shape.padded_time * shape.head_dim;
  const int64_t wide = shape.padded_time * shape.padded_dim;
  const int64_t block = kAttentionBlock * kAttentionBlock;
  PackedBackward p;
  p.query_tiles = take(narrow), p.d_out_tiles = take(narrow);
  p.key_panels = take(narrow), p.value_panels = take(narrow);
  p.query_rows = take(wide), p.key_rows = take(wide), p.d_out_rows = take(wide);
  p.d_query = take(wide), p.d_key = take(wide), p.d_value = take(wide);
  p.probabilities = take(block), p.d_scores = take(block);
  p.dots = take(shape.padded_time);
  return p;
}

// One row of a block: scores become probabilities, gradients of probabilities become those of scores. Keys
// [begin, end) are attended to; columns below `computed`, whole panels, hold numbers, and those that are not
// attended to become 0.
inline void backward_row(float* probabilities, float* d_scores, int64_t begin, int64_t end, int64_t computed,
                         float logsumexp, float dot) {
  for (int64_t i = 0; i < begin; ++i) probabilities[i] = -__builtin_inff();
  for (int64_t i = end; i < computed; ++i) probabilities[i] = -__builtin_inff();
#pragma omp simd
  for (int64_t i = 0; i < computed; ++i) {
    const float probability = exp(probabilities[i] - logsumexp);
    probabilities[i] = probability;
    d_scores[i] = probability * (d_scores[i] - dot);
  }
}

// Queries [query_block, + kAttentionBlock) against keys [key_block, + kAttentionBlock): probabilities and
// gradients of scores, and what the latter add to the queries' gradients.
inline void backward_queries(const PackedBackward& p, const HeadShape& shape, const int32_t* num_keys,
                             const float* logsumexp, int64_t query_block, int64_t key_block) {
  const int64_t query_end = smaller(query_block + kAttentionBlock, shape.time);
  for (int64_t tile = query_block; tile < query_end; tile += kMicroRows) {
    const int64_t rows = smaller(kMicroRows, query_end - tile);
    const int64_t depth =
        smaller(kAttentionBlock, tile + rows - key_block);  // keys that the tile may attend to
    float* probabilities = p.probabilities + (tile - query_block) * kAttentionBlock;
    float* d_scores = p.d_scores + (tile - query_block) * kAttentionBlock;
    for (int64_t key = 0; key < depth; key += kMicroColumns) {
      const int64_t panel = (key_block + key) * shape.head_dim;
      micro_product<1, kMicroRows>(shape.head_dim, p.query_tiles + tile * shape.head_dim,
                                   p.key_panels + panel, kMicroColumns, probabilities + key, kAttentionBlock,
                                   false);
      micro_product<1, kMicroRows>(shape.head_dim, p.d_out_tiles + tile * shape.head_dim,
                                   p.value_panels + panel, kMicroColumns, d_scores + key, kAttentionBlock,
                                   false);
    }
    for (int64_t row = 0; row < rows; ++row) {
      const int64_t query = tile + row;
      const int64_t end = larger(0, smaller(kAttentionBlock, query + 1 - key_block));
      const int64_t begin = smaller(end, larger(0, query + 1 - num_keys[query] - key_block));
      backward_row(probabilities + row * kAttentionBlock, d_scores + row * kAttentionBlock, begin, end,
                   round_up(depth, kMicroColumns), logsumexp[query], p.dots[query]);
    }
    for (int64_t column = 0; column < shape.head_dim; column += kMicroColumns) {
      micro_product<kAttentionBlock, 1>(depth, d_scores, p.key_rows + key_block * shape.padded_dim + column,
                                        shape.padded_dim, p.d_query + tile * shape.padded_dim + column,
                                        shape.padded_dim, true);
    }
  }
}

// What the block adds to the gradients of its keys and values.
inline void backward_keys(const PackedBackward& p, const HeadShape& shape, int64_t query_block,
                          int64_t key_block) {
  const int64_t queries = smaller(kAttentionBlock, shape.time - query_block);
  for (int64_t tile = 0; tile < smaller(kAttentionBlock, shape.time - key_block); tile += kMicroRows) {
    const int64_t first = larger(0, key_block + tile - query_block);  // earlier queries do not see these keys
    if (first >= queries) break;
    const int64_t from = (query_block + first) * shape.padded_dim;
    const int64_t to = (key_block + tile) * shape.padded_dim;
    const int64_t entry = first * kAttentionBlock + tile;
    for (int64_t column = 0; column < shape.head_dim; column += kMicroColumns) {
      micro_product<1, kAttentionBlock>(queries - first, p.probabilities + entry,
                                        p.d_out_rows + from + column, shape.padded_dim,
                                        p.d_value + to + column, shape.padded_dim, true);
      micro_product<1, kAttentionBlock>(queries - first, p.d_scores + entry, p.query_rows + from + column,
                                        shape.padded_dim, p.d_key + to + column, shape.padded_dim, true);
    }
  }
}

template <typename T>
void attention_backward(const AttentionBackwardArgs<T>& args, int64_t batch, int64_t head, float* workspace) {
  const HeadShape shape = head_shape(args.time, args.head_dim);
  const int64_t width = args.heads * args.head_dim;
  const int64_t from = batch * args.time * width + head * args.head_dim;
  const T* q = args.qkv + 3 * batch * args.time * width + head * args.head_dim;
  const T* k = q + width;
  const T* v = k + width;
  const T* d_out = args.d_out + from;
  const T* out = args.out + from;
  const int32_t* num_keys = args.num_keys + batch * args.time;
  const float* logsumexp = args.logsumexp + (batch * args.heads + head) * args.time;
  const float scale = args.softmax_scale;

  const PackedBackward p = divide_workspace(workspace, shape);
  const auto [time, head_dim, padded_time, padded_dim] = shape;
  // Rows first: what is read with a stride is read once.
  pack_rows(q, 3 * width, shape, scale, p.query_rows);
  pack_rows(k, 3 * width, shape, 1.0f, p.key_rows);
  pack_rows(d_out, width, shape, 1.0f, p.d_out_rows);
  pack_columns<kMicroRows>(p.query_rows, padded_dim, time, head_dim, 1.0f, kAttentionBlock, p.query_tiles);
  pack_columns<kMicroRows>(p.d_out_rows, padded_dim, time, head_dim, 1.0f, kAttentionBlock, p.d_out_tiles);
  pack_columns<kMicroColumns>(p.key_rows, padded_dim, time, head_dim, 1.0f, kAttentionBlock, p.key_panels);
  pack_columns<kMicroColumns>(v, 3 * width, time, head_dim, 1.0f, kAttentionBlock, p.value_panels);
  fill_zero(p.d_query, 0, 3 * padded_time * padded_dim);  // d_key and d_value follow it
  for (int64_t t = 0; t < time; ++t) {
    float dot = 0.0f;
#pragma omp simd reduction(+ : dot)
    for (int64_t h = 0; h < head_dim; ++h) dot += p.d_out_rows[t * padded_dim + h] * load(out[t * width + h]);
    p.dots[t] = dot;
  }

  for (int64_t key_block = 0; key_block < time; key_block += kAttentionBlock) {
    for (int64_t query_block = key_block; query_block < time; query_block += kAttentionBlock) {
      const int64_t first_key = query_block + 1 - num_keys[query_block];
      if (first_key >= key_block + kAttentionBlock) break;  // from here on in later documents
      backward_queries(p, shape, num_keys, logsumexp, query_block, key_block);
      backward_keys(p, shape, query_block, key_block);
    }
  }
  T* d_q = args.d_qkv + (q - args.qkv);
  unpack_rows(p.d_query, shape, scale, d_q, 3 * width);
  unpack_rows(p.d_key, shape, 1.0f, d_q + width, 3 * width);
  unpack_rows(p.d_value, shape, 1.0f, d_q + 2 * width, 3 * width);
}

}  // namespace ssgpt::kernels::cpu::SSGPT_ISA
