// Backward of causal attention for one head of one sequence. All arithmetic is fp32.
#pragma once

#include "kernels/cpu/attention_packing.h"

namespace ssgpt::kernels::cpu::SSGPT_ISA {

// Inputs and outputs of one head of one sequence.
template <typename T>
struct BackwardData {
  const T *queries, *keys, *values;  // (time, head_dim), rows `stride` apart
  const T *out, *d_out;              // (time, head_dim), rows `out_stride` apart
  const float* logsumexp;            // (time)
  const int32_t* num_keys;           // (time)
  T *d_queries, *d_keys, *d_values;  // (time, head_dim), rows `stride` apart
  int64_t stride, out_stride;
};

// The head at `index` of (batch, heads) flattened.
template <typename T>
BackwardData<T> backward_data(const AttentionBackwardArgs<T>& args, int64_t index) {
  const int64_t batch = index / args.heads, head = index % args.heads;
  const int64_t width = args.heads * args.head_dim;
  const int64_t first = batch * args.time;
  const int64_t qkv = first * 3 * width + head * args.head_dim;
  const int64_t out = first * width + head * args.head_dim;
  return {.queries = args.qkv + qkv,
          .keys = args.qkv + qkv + width,
          .values = args.qkv + qkv + 2 * width,
          .out = args.out + out,
          .d_out = args.d_out + out,
          .logsumexp = args.logsumexp + index * args.time,
          .num_keys = args.num_keys + first,
          .d_queries = args.d_qkv + qkv,
          .d_keys = args.d_qkv + qkv + width,
          .d_values = args.d_qkv + qkv + 2 * width,
          .stride = 3 * width,
          .out_stride = width};
}

// The rows of q, k, v, out, d_out and d_q. The keys' and values' gradients of most windows are written at the
// end of the head.
template <typename T>
using BackwardAhead = TokensAhead<T, 6>;

// Operands and sums, packed as the matmuls read them: of the keys so far, and of one block of queries, which
// include the softmax scale.
struct PackedBackward {
  float *key_panels, *value_panels;   // (padded_time / kMicroColumns, head_dim, kMicroColumns)
  float *key_rows, *d_key, *d_value;  // (padded_time, padded_dim)

  float *query_tiles, *d_out_tiles;          // (kAttentionBlock / kMicroRows, head_dim, kMicroRows)
  float *query_rows, *d_out_rows, *d_query;  // (kAttentionBlock, padded_dim)
  float *probabilities, *d_scores;           // (kAttentionBlock, kAttentionBlock): queries, keys
  float* dots;                               // (kAttentionBlock): <d_out, out>
};

inline PackedBackward divide_workspace(float* workspace, const HeadShape& shape) {
  const auto take = [&workspace](int64_t count) {
    float* const taken = workspace;
    workspace += count;
    return taken;
  };
  const int64_t narrow = shape.padded_time * shape.head_dim;
  const int64_t wide = shape.padded_time * shape.padded_dim;
  const int64_t tiles = kAttentionBlock * shape.head_dim;
  const int64_t rows = kAttentionBlock * shape.padded_dim;
  const int64_t block = kAttentionBlock * kAttentionBlock;
  PackedBackward p;
  p.key_panels = take(narrow), p.value_panels = take(narrow);
  p.key_rows = take(wide), p.d_key = take(wide), p.d_value = take(wide);
  p.query_tiles = take(tiles), p.d_out_tiles = take(tiles);
  p.query_rows = take(rows), p.d_out_rows = take(rows), p.d_query = take(rows);
  p.probabilities = take(block), p.d_scores = take(block);
  p.dots = take(kAttentionBlock);
  return p;
}

// Packs tokens [first, first + kAttentionBlock), both as queries and as keys.
template <typename T>
void pack_block(const BackwardData<T>& data, const HeadShape& shape, float scale, int64_t first,
                const PackedBackward& p) {
  const HeadShape block = part_of(shape, first, kAttentionBlock);
  const auto [time, head_dim, padded_time, padded_dim] = block;
  float* const key_rows = p.key_rows + first * padded_dim;
  // Rows first, so that strided memory is read only once.
  pack_rows(data.queries + first * data.stride, data.stride, block, scale, p.query_rows);
  pack_rows(data.d_out + first * data.out_stride, data.out_stride, block, 1.0f, p.d_out_rows);
  pack_rows(data.keys + first * data.stride, data.stride, block, 1.0f, key_rows);
  pack_columns<kMicroRows>(p.query_rows, padded_dim, time, head_dim, 1.0f, kAttentionBlock, p.query_tiles);
  pack_columns<kMicroRows>(p.d_out_rows, padded_dim, time, head_dim, 1.0f, kAttentionBlock, p.d_out_tiles);
  pack_columns<kMicroColumns>(key_rows, padded_dim, time, head_dim, 1.0f, kAttentionBlock,
                              p.key_panels + first * head_dim);
  pack_columns<kMicroColumns>(data.values + first * data.stride, data.stride, time, head_dim, 1.0f,
                              kAttentionBlock, p.value_panels + first * head_dim);
  for (int64_t t = 0; t < time; ++t) {
    const float* d_out = p.d_out_rows + t * padded_dim;
    const T* out = data.out + (first + t) * data.out_stride;
    float dot = 0.0f;
#pragma omp simd reduction(+ : dot)
    for (int64_t h = 0; h < head_dim; ++h) dot += d_out[h] * load(out[h]);
    p.dots[t] = dot;
  }
}

// One row of a block: turns scores into probabilities, and gradients of probabilities into gradients of
// scores. Keys [begin, end) are attended to; columns below `computed` (whole vectors) hold values, and those
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
// probabilities and score gradients, and writes the block's part of the query gradients, or adds it.
template <typename T>
void backward_queries(const PackedBackward& p, const HeadShape& shape, const BackwardData<T>& data,
                      int64_t query_block, int64_t key_block, bool accumulate, BackwardAhead<T>& ahead) {
  const int64_t num_queries = smaller(kAttentionBlock, shape.time - query_block);
  for (int64_t tile = 0; tile < num_queries; tile += kMicroRows) {
    const int64_t rows = smaller(kMicroRows, num_queries - tile);
    // Keys visible to the tile.
    const int64_t depth = smaller(kAttentionBlock, query_block + tile + rows - key_block);
    float* probabilities = p.probabilities + tile * kAttentionBlock;
    float* d_scores = p.d_scores + tile * kAttentionBlock;
    for (int64_t key = 0; key < depth; key += kMicroColumns) {
      const int64_t panel = (key_block + key) * shape.head_dim;
      multiply_panel<0>(shape.head_dim, p.query_tiles + tile * shape.head_dim, p.key_panels + panel,
                        depth - key, probabilities + key, kAttentionBlock, ahead);
      multiply_panel<0>(shape.head_dim, p.d_out_tiles + tile * shape.head_dim, p.value_panels + panel,
                        depth - key, d_scores + key, kAttentionBlock, ahead);
    }
    for (int64_t row = 0; row < rows; ++row) {
      const int64_t query = query_block + tile + row;
      const int64_t end = larger(0, smaller(kAttentionBlock, query + 1 - key_block));
      const int64_t begin = smaller(end, larger(0, query + 1 - data.num_keys[query] - key_block));
      backward_row(probabilities + row * kAttentionBlock, d_scores + row * kAttentionBlock, begin, end,
                   round_up(depth, kLanes), data.logsumexp[query], p.dots[tile + row]);
    }
    for (int64_t column = 0; column < shape.head_dim; column += kMicroColumns) {
      micro_product<kAttentionBlock, 1>(depth, d_scores, p.key_rows + key_block * shape.padded_dim + column,
                                        shape.padded_dim, p.d_query + tile * shape.padded_dim + column,
                                        shape.padded_dim, accumulate);
    }
  }
}

// Writes the block's part of the key and value gradients, or adds it.
inline void backward_keys(const PackedBackward& p, const HeadShape& shape, int64_t query_block,
                          int64_t key_block) {
  const int64_t num_queries = smaller(kAttentionBlock, shape.time - query_block);
  const bool accumulate = query_block > key_block;
  for (int64_t tile = 0; tile < smaller(kAttentionBlock, shape.time - key_block); tile += kMicroRows) {
    const int64_t first = larger(0, key_block + tile - query_block);  // earlier queries do not see these keys
    const int64_t from = first * shape.padded_dim;
    const int64_t to = (key_block + tile) * shape.padded_dim;
    const int64_t entry = first * kAttentionBlock + tile;
    for (int64_t column = 0; column < shape.head_dim; column += kMicroColumns) {
      micro_product<1, kAttentionBlock>(num_queries - first, p.probabilities + entry,
                                        p.d_out_rows + from + column, shape.padded_dim,
                                        p.d_value + to + column, shape.padded_dim, accumulate);
      micro_product<1, kAttentionBlock>(num_queries - first, p.d_scores + entry, p.query_rows + from + column,
                                        shape.padded_dim, p.d_key + to + column, shape.padded_dim,
                                        accumulate);
    }
  }
}

template <typename T>
void backward_head(const AttentionBackwardArgs<T>& args, int64_t index, float* workspace,
                   BackwardAhead<T>& ahead) {
  const HeadShape shape = head_shape(args.time, args.head_dim);
  const BackwardData<T> data = backward_data(args, index);
  const PackedBackward p = divide_workspace(workspace, shape);
  // The block of the first key that the queries from `query` on attend to; none if there are no such queries.
  const auto first_block = [&](int64_t query) {
    if (query >= shape.time) return shape.padded_time;
    return (query + 1 - data.num_keys[query]) / kAttentionBlock * kAttentionBlock;
  };
  for (int64_t query_block = 0; query_block < shape.time; query_block += kAttentionBlock) {
    const int64_t next = query_block + kAttentionBlock;
    ahead.advance_to(index, smaller(next, shape.time), kAttentionBlock);
    pack_block(data, shape, args.softmax_scale, query_block, p);
    const int64_t first = first_block(query_block);
    for (int64_t key_block = first; key_block <= query_block; key_block += kAttentionBlock) {
      backward_queries(p, shape, data, query_block, key_block, key_block > first, ahead);
      backward_keys(p, shape, query_block, key_block);
      if (key_block >= first_block(next)) continue;
      const HeadShape block = part_of(shape, key_block, kAttentionBlock);
      const int64_t from = key_block * shape.padded_dim, to = key_block * data.stride;
      unpack_rows(p.d_key + from, block, 1.0f, data.d_keys + to, data.stride);
      unpack_rows(p.d_value + from, block, 1.0f, data.d_values + to, data.stride);
    }
    unpack_rows(p.d_query, part_of(shape, query_block, kAttentionBlock), args.softmax_scale,
                data.d_queries + query_block * data.stride, data.stride);
  }
}

template <typename T>
void attention_backward(const AttentionBackwardArgs<T>& args, int64_t begin, int64_t end, float* workspace) {
  const int64_t width = args.heads * args.head_dim;
  const T* q = args.qkv;
  BackwardAhead<T> ahead({{q, 3 * width},
                          {q + width, 3 * width},
                          {q + 2 * width, 3 * width},
                          {args.out, width},
                          {args.d_out, width},
                          {args.d_qkv, 3 * width}},
                         begin, end, args.time, args.heads, args.head_dim);
  for (int64_t index = begin; index < end; ++index) backward_head(args, index, workspace, ahead);
}

}  // namespace ssgpt::kernels::cpu::SSGPT_ISA
