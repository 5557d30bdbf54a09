// Causal attention of one head of one sequence, in cache-sized blocks. All arithmetic is fp32.
#pragma once

#include "kernels/cpu/attention_packing.h"

namespace ssgpt::kernels::cpu::SSGPT_ISA {

// Keys that a group of queries attends to at a time: with their values they fill about half of an L2 cache
// and are read from beyond it once per group. A window of at most this many keys is a single chunk.
constexpr int64_t kKeyChunk = 11 * kAttentionBlock;
constexpr int64_t kGroupRows = 2 * kAttentionBlock;  // queries per group: whole tiles

// Values summed before the partial sum is added to the running one: shorter sums round less, but each costs a
// pass over the tile.
constexpr int64_t kSummedKeys = kKeyChunk / 3;

inline void hide(float* scores, int64_t begin, int64_t end) {
  for (int64_t key = begin; key < end; ++key) scores[key] = -__builtin_inff();
}

// A tile of queries and its softmax state over the keys so far.
struct QueryTile {
  int64_t first = 0, rows = 0;
  int64_t begin = 0;               // first key, rounded down to a whole panel
  float* queries = nullptr;        // (head_dim, kMicroRows), scaled
  float* sums = nullptr;           // (kMicroRows, padded_dim): values weighted by exp(score - maximum)
  float maximum[kMicroRows] = {};  // minus infinity before the first key
  float normalizer[kMicroRows] = {};
};

// A head's keys and values, packed as the matmuls read them, and space for the scores of a tile.
struct PackedHead {
  HeadShape shape;
  const float* keys;    // (time / kMicroColumns, head_dim, kMicroColumns)
  const float* values;  // (padded_time, padded_dim)
  float* scores;        // (kMicroRows, kKeyChunk)
};

// The largest of a row's scores over keys [begin, end) of a chunk, whole panels, and of `before`.
inline float row_maximum(const float* scores, int64_t begin, int64_t end, float before) {
  Vector low = Vector{} + before, high = low;
  for (int64_t key = begin; key < end; key += kMicroColumns) {
    low = larger_lanes(low, load_vector(scores + key));
    high = larger_lanes(high, load_vector(scores + key + kLanes));
  }
  return fold_lanes(larger_lanes(low, high), larger_lanes);
}

// Replaces a row's scores over keys [begin, end) by exp(score - base) and returns their sum.
inline float row_weights(float* scores, int64_t begin, int64_t end, float base) {
  Vector low = Vector{}, high = low;
  for (int64_t key = begin; key < end; key += kMicroColumns) {
    const Vector first = exp_of_difference(load_vector(scores + key) - base);
    const Vector second = exp_of_difference(load_vector(scores + key + kLanes) - base);
    store_vector(scores + key, first);
    store_vector(scores + key + kLanes, second);
    low += first;
    high += second;
  }
  return fold_lanes(low + high, sum_of_lanes);
}

// Folds keys [chunk, chunk + kKeyChunk) into the softmax of a tile (Milakov and Gimelshein, arXiv
// 1805.02867): sums of earlier chunks are rescaled to the maximum so far. `num_keys`: of the whole sequence.
inline void attend(const PackedHead& head, const int32_t* num_keys, int64_t chunk, QueryTile& tile) {
  const HeadShape& shape = head.shape;
  const int64_t begin = larger(chunk, tile.begin);
  const int64_t seen = smaller(chunk + kKeyChunk, tile.first + tile.rows);
  if (begin >= seen) return;
  const int64_t end = round_up(seen, kMicroColumns);
  // Keys and values come from the L2 cache, as the panels of a GEMM do.
  constexpr int64_t kAhead = 8;
  for (int64_t key = begin; key < end; key += kMicroColumns) {
    const float* const keys = head.keys + key * shape.head_dim;
    float* const scores = head.scores + key - chunk;
    if (seen - key > kLanes) {
      micro_product<1, kMicroRows, kAhead>(shape.head_dim, tile.queries, keys, kMicroColumns, scores,
                                           kKeyChunk, false);
    } else {  // the second vector is hidden below from all queries
      micro_product<1, kMicroRows, kAhead, kMicroRows, 1>(shape.head_dim, tile.queries, keys, kMicroColumns,
                                                          scores, kKeyChunk, false);
    }
  }
  // First all maxima, then all exponentials: a row's reductions overlap with those of the others.
  float before[kMicroRows];
  for (int64_t row = 0; row < tile.rows; ++row) {
    const int64_t query = tile.first + row;
    float* scores = head.scores + row * kKeyChunk;
    hide(scores, begin - chunk, smaller(end, query + 1 - num_keys[query]) - chunk);
    hide(scores, larger(begin, query + 1) - chunk, end - chunk);
    before[row] = tile.maximum[row];
    tile.maximum[row] = row_maximum(scores, begin - chunk, end - chunk, before[row]);
  }
  for (int64_t row = 0; row < tile.rows; ++row) {
    // A row may attend to none of a chunk's keys, if its document begins after them.
    const float base = tile.maximum[row] == -__builtin_inff() ? 0.0f : tile.maximum[row];
    const float sum = row_weights(head.scores + row * kKeyChunk, begin - chunk, end - chunk, base);
    if (begin == tile.begin) {  // there are no earlier sums to rescale
      tile.normalizer[row] = sum;
      continue;
    }
    const float rescale = before[row] == -__builtin_inff() ? 0.0f : exp(before[row] - base);
    tile.normalizer[row] = tile.normalizer[row] * rescale + sum;
    float* sums = tile.sums + row * shape.padded_dim;
#pragma omp simd
    for (int64_t h = 0; h < shape.padded_dim; ++h) sums[h] *= rescale;
  }
  for (int64_t key = begin; key < seen; key += kSummedKeys) {
    const int64_t depth = smaller(kSummedKeys, seen - key);
    for (int64_t column = 0; column < shape.head_dim; column += kMicroColumns) {
      micro_product<kKeyChunk, 1, kAhead>(depth, head.scores + key - chunk,
                                          head.values + key * shape.padded_dim + column, shape.padded_dim,
                                          tile.sums + column, shape.padded_dim, key != tile.begin);
    }
  }
}

// Inputs and outputs of one head of one sequence.
template <typename T>
struct HeadData {
  const T* queries;  // (time, head_dim), rows `stride` apart; keys and values follow
  int64_t stride;
  const int32_t* num_keys;  // (time)
  T* out;                   // (time, head_dim), rows `out_stride` apart
  int64_t out_stride;
  float* logsumexp;  // (time)
};

template <typename T>
void begin_tile(const HeadData<T>& data, const HeadShape& shape, float softmax_scale, int64_t first,
                QueryTile& tile) {
  tile.first = first;
  tile.rows = smaller(kMicroRows, shape.time - first);
  const int64_t first_key = first + 1 - data.num_keys[first];  // non-decreasing along the sequence
  tile.begin = first_key / kMicroColumns * kMicroColumns;
  for (int64_t row = 0; row < kMicroRows; ++row) {
    tile.maximum[row] = -__builtin_inff();
    tile.normalizer[row] = 0.0f;
  }
  pack_columns<kMicroRows>(data.queries + first * data.stride, data.stride, tile.rows, shape.head_dim,
                           softmax_scale, kMicroRows, tile.queries);
}

template <typename T>
void finish_tile(const QueryTile& tile, const HeadShape& shape, const HeadData<T>& data) {
  for (int64_t row = 0; row < tile.rows; ++row) {
    T* to = data.out + (tile.first + row) * data.out_stride;
    const float* from = tile.sums + row * shape.padded_dim;
    const float inverse = 1.0f / tile.normalizer[row];
#pragma omp simd
    for (int64_t h = 0; h < shape.head_dim; ++h) store(to[h], from[h] * inverse);
    data.logsumexp[tile.first + row] = tile.maximum[row] + __builtin_logf(tile.normalizer[row]);
  }
}

template <typename T>
void attention_forward(const AttentionForwardArgs<T>& args, int64_t batch, int64_t head, float* workspace) {
  const HeadShape shape = head_shape(args.time, args.head_dim);
  const int64_t width = args.heads * args.head_dim;
  const int64_t first = batch * args.time;
  const HeadData<T> data = {.queries = args.qkv + first * 3 * width + head * args.head_dim,
                            .stride = 3 * width,
                            .num_keys = args.num_keys + first,
                            .out = args.out + first * width + head * args.head_dim,
                            .out_stride = width,
                            .logsumexp = args.logsumexp + (batch * args.heads + head) * args.time};
  float* keys = workspace;
  float* values = keys + shape.padded_time * shape.head_dim;
  float* scores = values + shape.padded_time * shape.padded_dim;
  float* queries = scores + kMicroRows * kKeyChunk;
  float* sums = queries + kGroupRows * shape.head_dim;
  pack_columns<kMicroColumns>(data.queries + width, data.stride, shape.time, shape.head_dim, 1.0f,
                              kAttentionBlock, keys);
  pack_rows(data.queries + 2 * width, data.stride, shape, 1.0f, values);
  const PackedHead packed = {shape, keys, values, scores};

  QueryTile tiles[kGroupRows / kMicroRows];
  for (int64_t group = 0; group < shape.time; group += kGroupRows) {
    const int64_t end = smaller(group + kGroupRows, shape.time);
    const int64_t num_tiles = (end - group + kMicroRows - 1) / kMicroRows;
    for (int64_t i = 0; i < num_tiles; ++i) {
      tiles[i].queries = queries + i * kMicroRows * shape.head_dim;
      tiles[i].sums = sums + i * kMicroRows * shape.padded_dim;
      begin_tile(data, shape, args.softmax_scale, group + i * kMicroRows, tiles[i]);
    }
    for (int64_t chunk = tiles[0].begin / kKeyChunk * kKeyChunk; chunk < end; chunk += kKeyChunk) {
      for (int64_t i = 0; i < num_tiles; ++i) attend(packed, data.num_keys, chunk, tiles[i]);
    }
    for (int64_t i = 0; i < num_tiles; ++i) finish_tile(tiles[i], shape, data);
  }
}

}  // namespace ssgpt::kernels::cpu::SSGPT_ISA
