// Embedding, forward and backward. The backward sums the rows of each token, which are adjacent in sorted
// order: a short run by one warp, a long run by one block per slice of the columns.
#pragma once

#include "kernels/cuda/launch.cuh"

#include <cmath>
#include <cstdint>
#include <type_traits>

namespace ssgpt::kernels::cuda {

constexpr int kEmbeddingThreads = 256;
constexpr int kEmbeddingRows = 4;  // per thread of the forward
constexpr int kShortRun = 16;      // rows of the longest run handled by a single warp
constexpr int kRowsAtOnce = 8;     // in flight per thread of the backward
constexpr int kLongRunWarps = 16;
constexpr int kLongRunBlocks = 2;  // per SM: leaves registers for all the rows in flight

template <typename T, int kWidth>
__global__ void embedding_forward_kernel(const int64_t* tokens, const T* table, T* out, int64_t rows,
                                         int64_t width, int64_t vocab_size) {
  const int64_t column = (int64_t{blockIdx.y} * blockDim.x + threadIdx.x) * kWidth;
  if (column >= width) return;
  const int64_t first = int64_t{blockIdx.x} * kEmbeddingRows;
  int64_t ids[kEmbeddingRows];
  for (int i = 0; i < kEmbeddingRows; ++i) ids[i] = first + i < rows ? tokens[first + i] : -1;
  Floats<kWidth> nan;
  for (int i = 0; i < kWidth; ++i) nan.values[i] = NAN;
  Words<T, kWidth> values[kEmbeddingRows];
  for (int i = 0; i < kEmbeddingRows; ++i) {
    values[i] = to_words<T>(nan);
    if (ids[i] >= 0 && ids[i] < vocab_size) values[i] = load_words<kWidth>(table + ids[i] * width + column);
  }
  for (int i = 0; i < kEmbeddingRows; ++i) {
    if (first + i < rows) store_words(values[i], out + (first + i) * width + column);
  }
}

// sum += kRows rows of d_out, whose indices start at `order`, in that order, with all loads in flight at
// once. d_out points at the first column to be summed.
template <int kRows, typename T, int kWidth>
__device__ inline void add_rows(const int64_t* order, const T* d_out, int64_t width, Floats<kWidth>& sum) {
  Words<T, kWidth> values[kRows];
  for (int i = 0; i < kRows; ++i) values[i] = load_words<kWidth>(d_out + order[i] * width);
  for (int i = 0; i < kRows; ++i) {
    const Floats<kWidth> floats = values[i].floats();
    for (int j = 0; j < kWidth; ++j) sum.values[j] += floats.values[j];
  }
}

// Likewise for at most kRowsAtOnce rows.
template <typename T, int kWidth>
__device__ inline void add_some_rows(const int64_t* order, int64_t count, const T* d_out, int64_t width,
                                     Floats<kWidth>& sum) {
  if (count >= kRowsAtOnce) {
    add_rows<kRowsAtOnce>(order, d_out, width, sum);
    return;
  }
  constexpr int kHalf = kRowsAtOnce / 2;
  int64_t first = 0;
  if (count >= kHalf) {
    add_rows<kHalf>(order, d_out, width, sum);
    first = kHalf;
  }
  for (; first < count; ++first) add_rows<1>(order + first, d_out, width, sum);
}

// One warp per row of the sorted order; warps whose row does not start a short run have nothing to do.
template <typename T, int kWidth>
__global__ void __launch_bounds__(kEmbeddingThreads)
    add_short_runs_kernel(const int32_t* tokens, const int64_t* order, const T* d_out, float* d_table,
                          int64_t rows, int64_t width, int64_t vocab_size) {
  constexpr int kStored = kWidth < kVector<float> ? kWidth : kVector<float>;
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int64_t begin = int64_t{blockIdx.x} * (kEmbeddingThreads / kWarp) + threadIdx.x / kWarp;
  if (begin >= rows) return;
  const int32_t token = tokens[begin];
  if (token < 0 || token >= vocab_size || (begin > 0 && tokens[begin - 1] == token)) return;
  static_assert(kShortRun < kWarp);
  const int count = warp_sum(begin + lane < rows && tokens[begin + lane] == token ? 1 : 0);
  if (count > kShortRun) return;
  for (int64_t column = lane * kWidth; column < width; column += kWarp * kWidth) {
    float* to = d_table + token * width + column;
    Pack<float, kStored> before[kWidth / kStored];
    for (int i = 0; i < kWidth / kStored; ++i) before[i] = load_pack<kStored>(to + i * kStored);
    Floats<kWidth> sum = {};
    for (int first = 0; first < count; first += kRowsAtOnce) {
      add_some_rows(order + begin + first, count - first, d_out + column, width, sum);
    }
    for (int i = 0; i < kWidth / kStored; ++i) {
      for (int j = 0; j < kStored; ++j) before[i].values[j] += sum.values[i * kStored + j];
      store_pack(before[i], to + i * kStored);
    }
  }
}

// First position in [begin, end) whose token is not below `token`; `end` if there is none.
__device__ inline int64_t first_not_below(const int32_t* tokens, int64_t begin, int64_t end, int64_t token) {
  while (begin < end) {
    const int64_t middle = begin + (end - begin) / 2;
    if (tokens[middle] < token) {
      begin = middle + 1;
    } else {
      end = middle;
    }
  }
  return begin;
}

// One block per kShortRun-th row of the sorted order, of which every long run contains at least one, and per
// kWarp * kWidth columns. The first block of a run sums it: its warps take kRowsAtOnce rows in turn, and
// their sums are added in warp order.
template <typename T, int kWidth>
__global__ void __launch_bounds__(kLongRunWarps* kWarp, kLongRunBlocks)
    add_long_runs_kernel(const int32_t* tokens, const int64_t* order, const T* d_out, float* d_table,
                         int64_t rows, int64_t width, int64_t vocab_size) {
  __shared__ float sums[kLongRunWarps][kWarp * kWidth];
  const int64_t position = int64_t{blockIdx.x} * kShortRun;
  const int32_t token = tokens[position];
  if (token < 0 || token >= vocab_size) return;
  const int64_t earlier = position >= kShortRun ? position - kShortRun : 0;
  if (earlier < position && tokens[earlier] == token) return;
  const int64_t begin = first_not_below(tokens, earlier, position, token);
  if (begin + kShortRun >= rows || tokens[begin + kShortRun] != token) return;
  const int64_t end = first_not_below(tokens, position, rows, int64_t{token} + 1);

  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int warp = static_cast<int>(threadIdx.x) / kWarp;
  const int64_t slice = int64_t{blockIdx.y} * kWarp * kWidth;
  const int64_t column = slice + lane * kWidth;
  Floats<kWidth> sum = {};
  if (column < width) {
    for (int64_t row = begin + warp * kRowsAtOnce; row < end; row += kLongRunWarps * kRowsAtOnce) {
      add_some_rows(order + row, end - row, d_out + column, width, sum);
    }
  }
  for (int i = 0; i < kWidth; ++i) sums[warp][lane * kWidth + i] = sum.values[i];
  __syncthreads();
  const int mine = static_cast<int>(threadIdx.x);
  static_assert(kWarp * kWidth <= kLongRunWarps * kWarp);
  if (mine >= kWarp * kWidth || slice + mine >= width) return;
  float total = sums[0][mine];
  for (int w = 1; w < kLongRunWarps; ++w) total += sums[w][mine];
  d_table[token * width + slice + mine] += total;
}

// Calls body(vector width as a constant) for rows of `width` elements of T.
template <typename T, typename Body>
void with_embedding_vector(int64_t width, const Body& body) {
  if (width % kVector<T> == 0) {
    body(std::integral_constant<int, kVector<T>>());
  } else {
    body(std::integral_constant<int, 1>());
  }
}

template <typename T>
void embedding_forward(const int64_t* tokens, const T* table, T* out, int64_t rows, int64_t width,
                       int64_t vocab_size, Stream stream) {
  if (rows == 0) return;
  with_embedding_vector<T>(width, [&](auto vector) {
    const int64_t threads = divide_up(divide_up(width, vector()), kWarp) * kWarp;
    const int64_t block = threads < kEmbeddingThreads ? threads : kEmbeddingThreads;
    const dim3 grid(static_cast<unsigned>(divide_up(rows, kEmbeddingRows)),
                    static_cast<unsigned>(divide_up(threads, block)));
    launch("embedding_forward", embedding_forward_kernel<T, vector()>, grid,
           dim3(static_cast<unsigned>(block)), stream, tokens, table, out, rows, width, vocab_size);
  });
}

template <typename T>
void embedding_backward(const int32_t* tokens, const int64_t* order, const T* d_out, float* d_table,
                        int64_t rows, int64_t width, int64_t vocab_size, Stream stream) {
  if (rows == 0) return;
  with_embedding_vector<T>(width, [&](auto vector) {
    constexpr int kWarps = kEmbeddingThreads / kWarp;
    launch("add_short_runs", add_short_runs_kernel<T, vector()>,
           dim3(static_cast<unsigned>(divide_up(rows, kWarps))), dim3(kEmbeddingThreads), stream, tokens,
           order, d_out, d_table, rows, width, vocab_size);
    const dim3 grid(static_cast<unsigned>(divide_up(rows, kShortRun)),
                    static_cast<unsigned>(divide_up(width, kWarp * vector())));
    launch("add_long_runs", add_long_runs_kernel<T, vector()>, grid, dim3(kLongRunWarps * kWarp), stream,
           tokens, order, d_out, d_table, rows, width, vocab_size);
  });
}

}  // namespace ssgpt::kernels::cuda
