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

// Tokens after a tile whose rows are prefetched: what the next tiles and panels hold.
constexpr int64_t kTokensAhead = 64;

// Keys and values come from the L2 cache, as the panels of a GEMM do, and are prefetched so many steps of the
// depth ahead.
constexpr int64_t kDepthAhead = 8;

// A tile of queries and its softmax state over the keys so far.
struct QueryTile {
  int64_t first = 0, rows = 0;
  int64_t begin = 0;               // first key, rounded down to a whole panel
  float* queries = nullptr;        // (head_dim, kMicroRows), scaled
  float* sums = nullptr;           // (kMicroRows, padded_dim): values weighted by exp(score - maximum)
  float maximum[kMicroRows] = {};  // minus infinity before the first key, once it is begun
  float normalizer[kMicroRows] = {};

  int64_t end() const { return first + rows; }
};

// Inputs and outputs of one head of one sequence.
template <typename T>
struct HeadData {
  const T* queries;        // (time, head_dim), rows `stride` apart
  const T *keys, *values;  // likewise
  int64_t stride;
  const int32_t* num_keys;  // (time)
  T* out;                   // (time, head_dim), rows `out_stride` apart
  int64_t out_stride;
  float* logsumexp;  // (time)
};

// The head at `index` of (batch, heads) flattened.
template <typename T>
HeadData<T> head_data(const AttentionForwardArgs<T>& args, int64_t index) {
  const int64_t batch = index / args.heads, head = index % args.heads;
  const int64_t width = args.heads * args.head_dim;
  const int64_t first = batch * args.time;
  const T* queries = args.qkv + first * 3 * width + head * args.head_dim;
  return {.queries = queries,
          .keys = queries + width,
          .values = queries + 2 * width,
          .stride = 3 * width,
          .num_keys = args.num_keys + first,
          .out = args.out + first * width + head * args.head_dim,
          .out_stride = width,
          .logsumexp = args.logsumexp + index * args.time};
}

// The rows of q, k, v and out.
template <typename T>
using ForwardAhead = TokensAhead<T, 4>;

// A head's keys and values, packed as the matmuls read them, as far as queries have attended to them, and
// space for the scores of a tile.
struct PackedHead {
  HeadShape shape;
  int64_t num_packed;  // keys
  float* keys;         // (padded_time / kMicroColumns, head_dim, kMicroColumns)
  float* values;       // (padded_time, padded_dim)
  float* scores;       // (kMicroRows, kKeyChunk)
};

// Packs the keys and values before `end`, in whole panels.
template <typename T>
void pack_until(int64_t end, const HeadData<T>& data, PackedHead& head) {
  const HeadShape& shape = head.shape;
  for (; head.num_packed < end; head.num_packed += kMicroColumns) {
    const int64_t first = head.num_packed;
    const HeadShape panel = part_of(shape, first, kMicroColumns);
    pack_columns<kMicroColumns>(data.keys + first * data.stride, data.stride, panel.time, shape.head_dim,
                                1.0f, kMicroColumns, head.keys + first * shape.head_dim);
    pack_rows(data.values + first * data.stride, data.stride, panel, 1.0f,
              head.values + first * shape.padded_dim);
  }
}

// Sets the scores of a panel's keys that are before `begin`, or not before `end`, to minus infinity; both are
// relative to the panel.
inline void hide(float* scores, int64_t begin, int64_t end) {
  typedef int32_t Indices __attribute__((vector_size(kVectorBytes)));
  Indices key;
  for (int32_t lane = 0; lane < kLanes; ++lane) key[lane] = lane;
  const auto from = static_cast<int32_t>(larger(begin, 0));
  const auto to = static_cast<int32_t>(smaller(end, kMicroColumns));
  for (int64_t vector = 0; vector < kMicroColumns; vector += kLanes, key += static_cast<int32_t>(kLanes)) {
    const Indices seen = (key >= from) & (key < to);
    store_vector(scores + vector, seen ? load_vector(scores + vector) : Vector{} - __builtin_inff());
  }
}

// Scores of a tile's queries and the keys of one panel, minus infinity for keys that a query does not attend
// to; `maxima`: the largest so far, per row and lane. Rows beyond the tile's have no meaning.
template <typename T>
void score_panel(const PackedHead& head, const int32_t* num_keys, const QueryTile& tile, int64_t key,
                 float* scores, ForwardAhead<T>& ahead, Vector (&maxima)[kMicroRows]) {
  const int64_t head_dim = head.shape.head_dim;
  multiply_panel<kDepthAhead>(head_dim, tile.queries, head.keys + key * head_dim, tile.end() - key, scores,
                              kKeyChunk, ahead);
  // This also hides what multiply_panel left out.
  const int64_t last = tile.end() - 1;
  if (key + kMicroColumns > tile.first + 1 || key < last + 1 - num_keys[last]) {
    for (int64_t row = 0; row < tile.rows; ++row) {
      const int64_t query = tile.first + row;
      hide(scores + row * kKeyChunk, query + 1 - num_keys[query] - key, query + 1 - key);
    }
  }
#pragma GCC unroll 12
  for (int64_t row = 0; row < kMicroRows; ++row) {
    const float* from = scores + row * kKeyChunk;
    maxima[row] = larger_lanes(maxima[row], larger_lanes(load_vector(from), load_vector(from + kLanes)));
  }
}

// Replaces a panel's scores by exp(score - base), `base` per row, and adds them to the sums per row and lane.
inline void weigh_panel(float* scores, const float (&base)[kMicroRows], Vector (&sums)[kMicroRows]) {
  for (int64_t row = 0; row < kMicroRows; ++row, scores += kKeyChunk) {
    const Vector low = exp_of_difference(load_vector(scores) - base[row]);
    const Vector high = exp_of_difference(load_vector(scores + kLanes) - base[row]);
    store_vector(scores, low);
    store_vector(scores + kLanes, high);
    sums[row] += low + high;
  }
}

// The weights exp(score - maximum) of keys [begin, end) in `head.scores`, where a chunk begins with key
// `chunk`; the tile's normalizer and sums over earlier keys are rescaled to the maximum so far.
template <typename T>
void weigh_chunk(const PackedHead& head, const int32_t* num_keys, int64_t chunk, int64_t begin, int64_t end,
                 ForwardAhead<T>& ahead, QueryTile& tile) {
  float* const scores = head.scores - chunk;
  Vector maxima[kMicroRows], sums[kMicroRows];
  for (int64_t row = 0; row < kMicroRows; ++row) {
    maxima[row] = Vector{} - __builtin_inff();
    sums[row] = Vector{};
  }
  for (int64_t key = begin; key < end; key += kMicroColumns) {
    score_panel(head, num_keys, tile, key, scores + key, ahead, maxima);
  }
  // First all maxima, then all exponentials: the reductions of a row overlap with those of the others.
  float before[kMicroRows], base[kMicroRows];
  for (int64_t row = 0; row < kMicroRows; ++row) {
    const float most = fold_lanes(maxima[row], larger_lanes);
    before[row] = tile.maximum[row];
    tile.maximum[row] = most > before[row] ? most : before[row];
    // A row may attend to none of a chunk's keys, if its document begins after them.
    base[row] = tile.maximum[row] == -__builtin_inff() ? 0.0f : tile.maximum[row];
  }
  for (int64_t key = begin; key < end; key += kMicroColumns) weigh_panel(scores + key, base, sums);
  for (int64_t row = 0; row < tile.rows; ++row) {
    const float sum = fold_lanes(sums[row], sum_of_lanes);
    if (begin == tile.begin) {  // there are no earlier sums to rescale
      tile.normalizer[row] = sum;
      continue;
    }
    const float rescale = exp(before[row] - base[row]);
    tile.normalizer[row] = tile.normalizer[row] * rescale + sum;
    float* values = tile.sums + row * head.shape.padded_dim;
#pragma omp simd
    for (int64_t h = 0; h < head.shape.padded_dim; ++h) values[h] *= rescale;
  }
}

// Folds keys [chunk, chunk + kKeyChunk) into the softmax of a tile (Milakov and Gimelshein, arXiv
// 1805.02867). `num_keys`: of the whole sequence.
template <typename T>
void attend(const PackedHead& head, const int32_t* num_keys, int64_t chunk, ForwardAhead<T>& ahead,
            QueryTile& tile) {
  const HeadShape& shape = head.shape;
  const int64_t begin = larger(chunk, tile.begin);
  const int64_t end = smaller(chunk + kKeyChunk, tile.end());
  if (begin >= end) return;
  weigh_chunk(head, num_keys, chunk, begin, end, ahead, tile);
  for (int64_t key = begin; key < end; key += kSummedKeys) {
    const int64_t depth = smaller(kSummedKeys, end - key);
    for (int64_t column = 0; column < shape.head_dim; column += kMicroColumns) {
      micro_product<kKeyChunk, 1, kDepthAhead>(
          depth, head.scores + key - chunk, head.values + key * shape.padded_dim + column, shape.padded_dim,
          tile.sums + column, shape.padded_dim, key != tile.begin, ahead);
    }
  }
}

template <typename T>
void begin_tile(const HeadData<T>& data, const HeadShape& shape, float softmax_scale, int64_t first,
                QueryTile& tile) {
  tile.first = first;
  tile.rows = smaller(kMicroRows, shape.time - first);
  const int64_t first_key = first + 1 - data.num_keys[first];  // non-decreasing along the sequence
  tile.begin = first_key / kMicroColumns * kMicroColumns;
  for (int64_t row = 0; row < kMicroRows; ++row) {
    tile.maximum[row] = -__builtin_inff();
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
void forward_head(const AttentionForwardArgs<T>& args, int64_t index, float* workspace,
                  ForwardAhead<T>& ahead) {
  const HeadShape shape = head_shape(args.time, args.head_dim);
  const HeadData<T> data = head_data(args, index);
  float* values = workspace + shape.padded_time * shape.head_dim;
  float* scores = values + shape.padded_time * shape.padded_dim;
  float* queries = scores + kMicroRows * kKeyChunk;
  float* sums = queries + kGroupRows * shape.head_dim;
  PackedHead packed = {
      .shape = shape, .num_packed = 0, .keys = workspace, .values = values, .scores = scores};

  QueryTile tiles[kGroupRows / kMicroRows];
  for (int64_t group = 0; group < shape.time; group += kGroupRows) {
    const int64_t end = smaller(group + kGroupRows, shape.time);
    const int64_t first_chunk = (group + 1 - data.num_keys[group]) / kKeyChunk * kKeyChunk;
    for (int64_t chunk = first_chunk; chunk < end; chunk += kKeyChunk) {
      QueryTile* tile = tiles;
      for (int64_t first = group; first < end; first += kMicroRows, ++tile) {
        if (chunk == first_chunk) {
          tile->queries = queries + (first - group) * shape.head_dim;
          tile->sums = sums + (first - group) * shape.padded_dim;
          begin_tile(data, shape, args.softmax_scale, first, *tile);
        }
        pack_until(smaller(chunk + kKeyChunk, tile->end()), data, packed);
        ahead.advance_to(index, tile->end(), kTokensAhead);
        attend(packed, data.num_keys, chunk, ahead, *tile);
        const bool is_last_chunk = tile->end() > chunk && tile->end() <= chunk + kKeyChunk;
        if (is_last_chunk) finish_tile(*tile, shape, data);
      }
    }
  }
}

template <typename T>
void attention_forward(const AttentionForwardArgs<T>& args, int64_t begin, int64_t end, float* workspace) {
  const int64_t width = args.heads * args.head_dim;
  const T* q = args.qkv;
  ForwardAhead<T> ahead(
      {{q, 3 * width}, {q + width, 3 * width}, {q + 2 * width, 3 * width}, {args.out, width}}, begin, end,
      args.time, args.heads, args.head_dim);
  for (int64_t index = begin; index < end; ++index) forward_head(args, index, workspace, ahead);
}

}  // namespace ssgpt::kernels::cpu::SSGPT_ISA
