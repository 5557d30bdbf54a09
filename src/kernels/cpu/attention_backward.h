// Backward of causal attention for one head of one sequence. All arithmetic is fp32.
#pragma once

#include "kernels/cpu/attention_packing.h"

namespace ssgpt::kernels::cpu::SSGPT_ISA {

inline void fill_zero(float* values, int64_t begin, int64_t end) {
  if (end > begin) __builtin_memset(values + begin, 0, static_cast<uint64_t>(end - begin) * sizeof(float));
}

// Operands of one head's backward, packed as the matmuls read them. Queries include the softmax scale.
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

// One row of a block: turns scores into probabilities, and gradients of probabilities into gradients of
// scores. Keys [begin, end) are attended to; columns below `computed` (whole panels) hold values, and those
// not attended to become 0.
inline void backward_row(float* probabilities, float* d_scores, int64_t begin, int64_t end, int64_t computed,
                         float logsumexp, float dot) {
  for (int64_t i = 0; i < begin; ++i) probabilities[i] = -__builtin_inff();
  for (int64_t i = end; i < computed; ++i) probabilities[i] = -__builtin_inff();
  for (int64_t i = 0; i < computed; i += kLanes) {
    const Vector probability = exp_of_difference(load_vector(probabilities + i) - logsumexp);
    store_vector(probabilities + i, probability);
    store_vector(d_scores + i, probability * (load_vector(d_scores + i) - dot));
  }
}

// Queries [query_block, + kAttentionBlock) against keys [key_block, + kAttentionBlock): computes
// probabilities and score gradients, and adds the block's part of the query gradients.
inline void backward_queries(const PackedBackward& p, const HeadShape& shape, const int32_t* num_keys,
                             const float* logsumexp, int64_t query_block, int64_t key_block) {
  const int64_t query_end = smaller(query_block + kAttentionBlock, shape.time);
  for (int64_t tile = query_block; tile < query_end; tile += kMicroRows) {
    const int64_t rows = smaller(kMicroRows, query_end - tile);
    const int64_t depth = smaller(kAttentionBlock, tile + rows - key_block);  // keys visible to the tile
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

// Adds the block's part of the key and value gradients.
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
  // Rows first, so that strided memory is read only once.
  pack_rows(q, 3 * width, shape, scale, p.query_rows);
  pack_rows(k, 3 * width, shape, 1.0f, p.key_rows);
  pack_rows(d_out, width, shape, 1.0f, p.d_out_rows);
  pack_columns<kMicroRows>(p.query_rows, padded_dim, time, head_dim, 1.0f, kAttentionBlock, p.query_tiles);
  pack_columns<kMicroRows>(p.d_out_rows, padded_dim, time, head_dim, 1.0f, kAttentionBlock, p.d_out_tiles);
  pack_columns<kMicroColumns>(p.key_rows, padded_dim, time, head_dim, 1.0f, kAttentionBlock, p.key_panels);
  pack_columns<kMicroColumns>(v, 3 * width, time, head_dim, 1.0f, kAttentionBlock, p.value_panels);
  fill_zero(p.d_query, 0, 3 * padded_time * padded_dim);  // d_key and d_value follow directly
  for (int64_t t = 0; t < time; ++t) {
    float dot = 0.0f;
#pragma omp simd reduction(+ : dot)
    for (int64_t h = 0; h < head_dim; ++h) dot += p.d_out_rows[t * padded_dim + h] * load(out[t * width + h]);
    p.dots[t] = dot;
  }

  for (int64_t key_block = 0; key_block < time; key_block += kAttentionBlock) {
    for (int64_t query_block = key_block; query_block < time; query_block += kAttentionBlock) {
      const int64_t first_key = query_block + 1 - num_keys[query_block];
      if (first_key >= key_block + kAttentionBlock) break;  // only later documents from here on
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
