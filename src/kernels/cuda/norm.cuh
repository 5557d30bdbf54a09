// RMSNorm, forward and backward. A row is held in the registers of 1 to 16 warps, and a block processes
// several rows at a time.
#pragma once

#include "kernels/cuda/chunks.cuh"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/norm.h"

#include <algorithm>
#include <cstdint>
#include <type_traits>

namespace ssgpt::kernels::cuda {

constexpr int kMostNormWarps = 16;  // per row
constexpr int kMostNormThreads = kMostNormWarps * kWarp;
constexpr int kNormThreads = 256;  // per block, unless a row needs more

// Packs of a row in a lane's registers.
template <int kWidth>
inline constexpr int kNormPacks = kWidth == 1 ? 8 : 4;

// Elements of a row that a warp holds; the row's next warp holds those that follow.
template <int kWidth>
inline constexpr int kNormHeld = kWarp* kWidth* kNormPacks<kWidth>;

// A lane's part of a row: packs kWarp * kWidth elements apart.
template <typename T, int kWidth>
struct NormPacks {
  Words<T, kWidth> packs[kNormPacks<kWidth>];
};

// A thread's place in its row.
struct NormColumns {
  int first;  // first column of this thread
  int end;    // end of the row; 0 if there is no row
};

template <int kWidth>
__device__ inline NormColumns norm_columns(int thread_of_row, int width) {
  return {.first = thread_of_row / kWarp * kNormHeld<kWidth> + thread_of_row % kWarp * kWidth, .end = width};
}

// Pack p of a row; elements beyond the row are 0.
template <int kWidth, typename T>
__device__ inline Words<T, kWidth> load_part(const T* row, int p, const NormColumns& columns) {
  Words<T, kWidth> words = {};
  const int column = columns.first + p * kWarp * kWidth;
  if (column < columns.end) words = load_words<kWidth>(row + column);
  return words;
}
template <int kWidth, typename T>
__device__ inline NormPacks<T, kWidth> load_row(const T* row, const NormColumns& columns) {
  NormPacks<T, kWidth> result;
  for (int p = 0; p < kNormPacks<kWidth>; ++p) result.packs[p] = load_part<kWidth>(row, p, columns);
  return result;
}

// Rounds pack p of a row and stores it; returns the stored value.
template <typename T, int kWidth>
__device__ inline Words<T, kWidth> store_floats(const Floats<kWidth>& floats, int p, T* row,
                                                const NormColumns& columns) {
  const Words<T, kWidth> words = to_words<T>(floats);
  const int column = columns.first + p * kWarp * kWidth;
  if (column < columns.end) store_words(words, row + column);
  return words;
}

// Forces the compiler to unpack the values again after this point: kept as fp32 they would take twice the
// registers during the warp's sum.
template <typename T, int kWidth>
__device__ inline void stay_packed(NormPacks<T, kWidth>& values) {
  if constexpr (sizeof(T) == 2 && kWidth > 1) {
    for (auto& pack : values.packs) {
      for (uint32_t& word : pack.words) asm volatile("" : "+r"(word));
    }
  }
}

// kAdd: RMSNorm of x + branch, which is stored in `sum` (may be x). A thread writes only what it has read
// itself. The weight is read from the cache when needed: held in registers across the sum it would halve the
// rows in flight.
template <typename T, int kWidth, bool kAdd>
__global__ void __launch_bounds__(kMostNormThreads)
    rms_norm_forward_kernel(const T* x, const T* branch, const T* __restrict__ weight, float eps, T* sum,
                            T* out, float* rstd, int64_t rows, int width, int warps) {
  constexpr int kPacks = kNormPacks<kWidth>;
  __shared__ float shared[kMostNormWarps];
  const int threads = warps * kWarp;
  const int thread = static_cast<int>(threadIdx.x);
  const int64_t row = int64_t{blockIdx.x} * (static_cast<int>(blockDim.x) / threads) + thread / threads;
  const NormColumns columns = norm_columns<kWidth>(thread % threads, row < rows ? width : 0);
  NormPacks<T, kWidth> values = load_row<kWidth>(x + row * width, columns);
  if constexpr (kAdd) {
    const NormPacks<T, kWidth> added = load_row<kWidth>(branch + row * width, columns);
    for (int p = 0; p < kPacks; ++p) {
      Floats<kWidth> floats = values.packs[p].floats();
      const Floats<kWidth> others = added.packs[p].floats();
      for (int i = 0; i < kWidth; ++i) floats.values[i] += others.values[i];
      values.packs[p] = store_floats<T>(floats, p, sum + row * width, columns);
    }
  }
  float squares = 0.0f;
  for (int p = 0; p < kPacks; ++p) {
    const Floats<kWidth> floats = values.packs[p].floats();
    for (int i = 0; i < kWidth; ++i) squares += floats.values[i] * floats.values[i];
  }
  squares = warps_sum(squares, warps, shared);
  stay_packed(values);
  const float r = 1.0f / sqrtf(squares / static_cast<float>(width) + eps);
  for (int p = 0; p < kPacks; ++p) {
    Floats<kWidth> floats = values.packs[p].floats();
    const Floats<kWidth> factors = load_part<kWidth>(weight, p, columns).floats();
    for (int i = 0; i < kWidth; ++i) floats.values[i] = floats.values[i] * r * factors.values[i];
    store_floats<T>(floats, p, out + row * width, columns);
  }
  if (columns.first < columns.end && columns.first == 0) rstd[row] = r;
}

// Partial sums over rows of d_out * x * rstd, in a thread's columns.
template <int kWidth>
struct NormWeightGradient {
  float values[kNormPacks<kWidth>][kWidth];
};

// One row: d_x = (or += where `accumulate`) its gradient; d_weight += its contribution. All threads of the
// block must call it.
template <typename T, int kWidth>
__device__ inline void rms_norm_backward_row(const T* d_out, const T* x, const T* weight, float r,
                                             bool accumulate, T* d_x, NormWeightGradient<kWidth>& d_weight,
                                             int width, const NormColumns& columns, int warps,
                                             float* shared) {
  constexpr int kPacks = kNormPacks<kWidth>;
  NormPacks<T, kWidth> d_outs = load_row<kWidth>(d_out, columns);
  NormPacks<T, kWidth> values = load_row<kWidth>(x, columns);
  NormPacks<T, kWidth> weights = load_row<kWidth>(weight, columns);
  NormColumns of_d_x = columns;
  if (!accumulate) of_d_x.end = 0;
  const NormPacks<T, kWidth> d_xs = load_row<kWidth>(d_x, of_d_x);
  float dot = 0.0f;
  for (int p = 0; p < kPacks; ++p) {
    const Floats<kWidth> dy = d_outs.packs[p].floats();
    const Floats<kWidth> w = weights.packs[p].floats();
    const Floats<kWidth> value = values.packs[p].floats();
    for (int i = 0; i < kWidth; ++i) dot += dy.values[i] * w.values[i] * value.values[i];
  }
  dot = warps_sum(dot, warps, shared);
  stay_packed(d_outs);
  stay_packed(values);
  stay_packed(weights);
  const float along_x = dot * r * r * r / static_cast<float>(width);
  for (int p = 0; p < kPacks; ++p) {
    const Floats<kWidth> dy = d_outs.packs[p].floats();
    const Floats<kWidth> w = weights.packs[p].floats();
    const Floats<kWidth> value = values.packs[p].floats();
    Floats<kWidth> dx = d_xs.packs[p].floats();
    for (int i = 0; i < kWidth; ++i) {
      const float d = dy.values[i] * r;
      d_weight.values[p][i] += d * value.values[i];
      dx.values[i] += d * w.values[i] - along_x * value.values[i];
    }
    store_floats<T>(dx, p, d_x, columns);
  }
}

// Stores a thread's columns as fp32.
template <int kWidth>
__device__ inline void store_sums(const NormWeightGradient<kWidth>& sums, float* row,
                                  const NormColumns& columns) {
  constexpr int kStored = kWidth < kVector<float> ? kWidth : kVector<float>;
  for (int p = 0; p < kNormPacks<kWidth>; ++p) {
    const int column = columns.first + p * kWarp * kWidth;
    if (column >= columns.end) continue;
    for (int begin = 0; begin < kWidth; begin += kStored) {
      Pack<float, kStored> pack;
      for (int i = 0; i < kStored; ++i) pack.values[i] = sums.values[p][begin + i];
      store_pack(pack, row + column + begin);
    }
  }
}

// One block per chunk of kNormChunkRows rows; its groups of warps take the rows in turn, and their parts of
// d_weight are added in group order. weight_sums: (chunks, width).
template <typename T, int kWidth>
__global__ void __launch_bounds__(kMostNormThreads)
    rms_norm_backward_kernel(const T* d_out, const T* x, const T* weight, const float* rstd, bool accumulate,
                             T* d_x, float* weight_sums, int64_t rows, int width, int warps) {
  __shared__ float shared[kMostNormWarps];
  alignas(16) __shared__ float group_sums[kNormThreads * kNormPacks<kWidth> * kWidth];
  const int threads = warps * kWarp;
  const int thread = static_cast<int>(threadIdx.x);
  const int groups = static_cast<int>(blockDim.x) / threads;
  const int group = thread / threads;
  const NormColumns all = norm_columns<kWidth>(thread % threads, width);
  NormWeightGradient<kWidth> d_weight = {};
  const int64_t chunk = int64_t{blockIdx.x} * kNormChunkRows;
  const int64_t end = rows - chunk < kNormChunkRows ? rows : chunk + kNormChunkRows;
  for (int64_t begin = chunk; begin < end; begin += groups) {
    const int64_t row = begin + group;
    const bool is_row = row < end;
    NormColumns columns = all;
    if (!is_row) columns.end = 0;
    rms_norm_backward_row<T, kWidth>(d_out + row * width, x + row * width, weight, is_row ? rstd[row] : 0.0f,
                                     accumulate, d_x + row * width, d_weight, width, columns, warps, shared);
  }
  float* sums = weight_sums + int64_t{blockIdx.x} * width;
  if (groups == 1) {
    store_sums(d_weight, sums, all);
    return;
  }
  store_sums(d_weight, group_sums + group * width, all);
  __syncthreads();
  for (int column = thread; column < width; column += static_cast<int>(blockDim.x)) {
    float sum = group_sums[column];
    for (int g = 1; g < groups; ++g) sum += group_sums[g * width + column];
    sums[column] = sum;
  }
}

// Calls body(vector width as a constant, warps per row, threads per block) for rows of `width` elements of T.
template <typename T, typename Body>
void with_norm_block(int64_t width, const Body& body) {
  const auto with = [&]<int kWidth>(std::integral_constant<int, kWidth> constant) {
    static_assert((kWidth == 1 ? kWidestUnalignedNorm : kWidestNorm) <= kMostNormWarps * kNormHeld<kWidth>);
    int warps = 1;
    while (warps * kNormHeld<kWidth> < width) warps *= 2;
    body(constant, warps, std::max(kNormThreads, warps * kWarp));
  };
  if (width % kVector<T> == 0) {
    with(std::integral_constant<int, kVector<T>>());
  } else {
    with(std::integral_constant<int, 1>());
  }
}

template <typename T, bool kAdd>
void launch_rms_norm_forward(const char* name, const T* x, const T* branch, const T* weight, float eps,
                             T* sum, T* out, float* rstd, int64_t rows, int64_t width, Stream stream) {
  if (rows == 0) return;
  with_norm_block<T>(width, [&](auto vector, int warps, int threads) {
    const int64_t blocks = divide_up(rows, threads / (warps * kWarp));
    launch(name, rms_norm_forward_kernel<T, vector(), kAdd>, dim3(static_cast<unsigned>(blocks)),
           dim3(static_cast<unsigned>(threads)), stream, x, branch, weight, eps, sum, out, rstd, rows, width,
           warps);
  });
}

template <typename T>
void rms_norm_forward(const T* x, const T* weight, float eps, T* out, float* rstd, int64_t rows,
                      int64_t width, Stream stream) {
  launch_rms_norm_forward<T, false>("rms_norm_forward", x, static_cast<const T*>(nullptr), weight, eps,
                                    static_cast<T*>(nullptr), out, rstd, rows, width, stream);
}

template <typename T>
void add_rms_norm_forward(const T* residual, const T* branch, const T* weight, float eps, T* sum, T* out,
                          float* rstd, int64_t rows, int64_t width, Stream stream) {
  launch_rms_norm_forward<T, true>("add_rms_norm_forward", residual, branch, weight, eps, sum, out, rstd,
                                   rows, width, stream);
}

template <typename T>
void rms_norm_backward(const T* d_out, const T* x, const T* weight, const float* rstd, bool accumulate,
                       T* d_x, float* weight_sums, int64_t rows, int64_t width, Stream stream) {
  if (rows == 0) return;
  const int64_t chunks = divide_up(rows, kNormChunkRows);
  with_norm_block<T>(width, [&](auto vector, int warps, int threads) {
    launch("rms_norm_backward", rms_norm_backward_kernel<T, vector()>, dim3(static_cast<unsigned>(chunks)),
           dim3(static_cast<unsigned>(threads)), stream, d_out, x, weight, rstd, accumulate, d_x, weight_sums,
           rows, width, warps);
  });
}

}  // namespace ssgpt::kernels::cuda
