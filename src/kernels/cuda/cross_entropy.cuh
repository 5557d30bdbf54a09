// Softmax cross-entropy, one block per row of logits. The first pass computes the maximum and the sum of
// exponentials together (Milakov and Gimelshein, "Online normalizer calculation for softmax", arXiv
// 1805.02867); the second writes the gradient in place. In between, the row stays in shared memory or, if it
// fits, in the GPU's L2 cache.
#pragma once

#include "kernels/cuda/launch.cuh"

#include <cfloat>
#include <cmath>
#include <cstdint>
#include <type_traits>

namespace ssgpt::kernels::cuda {

// Two blocks fill an SM's registers: the rows that all SMs have read once and will read again, 100 KB each
// for a vocabulary of 50,257, then fit in the L2 cache of an H100.
constexpr int kCrossEntropyThreads = 768;
constexpr int kCrossEntropyLoads = 4;  // per thread, in flight together

// e^x from the hardware's 2^x: relative error about |x| 2^-24.
__device__ inline float fast_exp(float x) {
  constexpr float kLog2E = 1.44269504088896341f;
  return exp2f(x * kLog2E);
}

// sum = sum of e^(x - largest). `largest` starts from a finite value, so that a thread that has seen only
// -inf adds 0 to the row's sum, not NaN.
struct RunningSum {
  float largest = -FLT_MAX;
  float sum = 0.0f;
};

template <typename T, int kWidth>
__device__ inline void add(const Pack<T, kWidth>& pack, RunningSum& running) {
  float largest = running.largest;
  for (int i = 0; i < kWidth; ++i) largest = fmaxf(largest, to_float(pack.values[i]));
  float sum = running.sum * fast_exp(running.largest - largest);
  // fmaxf ignores a NaN, which reappears here; +inf gives inf - inf, also NaN.
  for (int i = 0; i < kWidth; ++i) sum += fast_exp(to_float(pack.values[i]) - largest);
  running = {largest, sum};
}

// Maximum over the block, returned to every thread.
__device__ inline float block_max(float value) {
  __shared__ float shared[kCrossEntropyThreads / kWarp];
  for (int distance = kWarp / 2; distance > 0; distance /= 2) {
    value = fmaxf(value, __shfl_xor_sync(kFullMask, value, distance));
  }
  if (threadIdx.x % kWarp == 0) shared[threadIdx.x / kWarp] = value;
  __syncthreads();
  for (const float other : shared) value = fmaxf(value, other);
  return value;
}

// log(sum of e^logits[i], i < count), returned to every thread of the block. With kShared the row's whole
// vectors are kept in `shared_row`; write_softmax reads each in the thread that stored it.
template <typename T, int kWidth, bool kShared>
__device__ inline float log_sum_exp(const T* logits, int64_t count, T* shared_row) {
  RunningSum running;
  const int64_t vectors = count / kWidth;
  for (int64_t begin = threadIdx.x; begin < vectors; begin += kCrossEntropyThreads * kCrossEntropyLoads) {
    Pack<T, kWidth> packs[kCrossEntropyLoads];
    for (int i = 0; i < kCrossEntropyLoads; ++i) {
      const int64_t vector = begin + i * kCrossEntropyThreads;
      if (vector >= vectors) continue;
      packs[i] = kShared ? load_pack_last<kWidth>(logits + vector * kWidth)
                         : load_pack<kWidth>(logits + vector * kWidth);
    }
    for (int i = 0; i < kCrossEntropyLoads; ++i) {
      const int64_t vector = begin + i * kCrossEntropyThreads;
      if (vector >= vectors) continue;
      if constexpr (kShared) store_pack(packs[i], shared_row + vector * kWidth);
      add(packs[i], running);
    }
  }
  const int64_t rest = vectors * kWidth + threadIdx.x;
  if (rest < count) add(load_pack<1>(logits + rest), running);
  __shared__ float shared[kCrossEntropyThreads / kWarp];
  const float largest = block_max(running.largest);
  const float sum =
      warps_sum(running.sum * fast_exp(running.largest - largest), kCrossEntropyThreads / kWarp, shared);
  return largest + logf(sum);
}

// logits = e^(logits - normalizer) below vocab_size, 0 from there on. This is the second and last read of the
// row, so it is marked for eviction, which leaves the cache to rows that other blocks still have to reread.
// The first `shared` columns (whole vectors) are read from `shared_row`, where this thread stored them.
template <typename T, int kWidth, bool kShared>
__device__ inline void write_softmax(T* logits, float normalizer, int64_t columns, int64_t vocab_size,
                                     const T* shared_row, int64_t shared) {
  const int64_t vectors = columns / kWidth;
  const int64_t shared_vectors = shared / kWidth;
  for (int64_t begin = threadIdx.x; begin < vectors; begin += kCrossEntropyThreads * kCrossEntropyLoads) {
    Pack<T, kWidth> packs[kCrossEntropyLoads];
    for (int i = 0; i < kCrossEntropyLoads; ++i) {
      const int64_t vector = begin + i * kCrossEntropyThreads;
      if (vector >= vectors) continue;
      if constexpr (kShared) {
        if (vector < shared_vectors) {
          packs[i] = load_pack<kWidth>(shared_row + vector * kWidth);
          continue;
        }
      }
      packs[i] = load_pack_last<kWidth>(logits + vector * kWidth);
    }
    for (int i = 0; i < kCrossEntropyLoads; ++i) {
      const int64_t vector = begin + i * kCrossEntropyThreads;
      if (vector >= vectors) continue;
      const int64_t predicted = vocab_size - vector * kWidth;  // non-padding columns from here on
      for (int j = 0; j < kWidth; ++j) {
        const float p = fast_exp(to_float(packs[i].values[j]) - normalizer);
        from_float(j < predicted ? p : 0.0f, packs[i].values[j]);
      }
      store_pack_last(packs[i], logits + vector * kWidth);
    }
  }
}

template <typename T, int kWidth>
__device__ inline void write_zeros(T* logits, int64_t columns) {
  for (int64_t vector = threadIdx.x; vector < columns / kWidth; vector += kCrossEntropyThreads) {
    store_pack(Pack<T, kWidth>(), logits + vector * kWidth);
  }
}

// kWidth divides the number of columns. kShared: dynamic shared memory holds vocab_size elements.
template <typename T, int kWidth, bool kShared>
__global__ void __launch_bounds__(kCrossEntropyThreads)
    cross_entropy_kernel(T* logits, const int64_t* targets, float* losses, int64_t columns,
                         int64_t vocab_size, bool leave_gradient) {
  T* row = logits + int64_t{blockIdx.x} * columns;
  T* shared_row = nullptr;
  if constexpr (kShared) shared_row = static_cast<T*>(dynamic_shared());
  const int64_t target = targets[blockIdx.x];
  if (target < 0) {
    if (threadIdx.x == 0) losses[blockIdx.x] = 0.0f;
    if (leave_gradient) write_zeros<T, kWidth>(row, columns);
    return;
  }
  // A target beyond the vocabulary makes everything NaN.
  const bool is_target = target < vocab_size;
  const float logit = is_target ? to_float(row[target]) : kNan;
  const float normalizer = is_target ? log_sum_exp<T, kWidth, kShared>(row, vocab_size, shared_row) : logit;
  if (threadIdx.x == 0) losses[blockIdx.x] = normalizer - logit;
  if (!leave_gradient) return;
  // Without a target the row has not been read.
  write_softmax<T, kWidth, kShared>(row, normalizer, columns, vocab_size, shared_row,
                                    is_target ? vocab_size : 0);
  __syncthreads();  // before the target's column is adjusted
  if (threadIdx.x == 0 && is_target) from_float(fast_exp(logit - normalizer) - 1.0f, row[target]);
}

// Bytes of shared memory per row, in whole vectors.
template <typename T>
int64_t row_bytes(int64_t vocab_size) {
  return vocab_size / kVector<T> * kVector<T> * static_cast<int64_t>(sizeof(T));
}

// Whether rows are kept in shared memory; by default, if two blocks then fit on a multiprocessor: a single
// one could not overlap reading with writing.
inline bool is_row_shared(CrossEntropyRow row, int64_t bytes, const SharedMemory& memory) {
  constexpr int64_t kStatic = 2048;  // static shared memory of the kernel, or more
  const int64_t block = bytes + kStatic;
  if (row == CrossEntropyRow::kGlobal || block > memory.of_block) return false;
  return row == CrossEntropyRow::kShared ||
         2 * (block + memory.reserved_for_block) <= memory.of_multiprocessor;
}

template <typename T>
void cross_entropy(T* logits, const int64_t* targets, float* losses, int64_t rows, int64_t columns,
                   int64_t vocab_size, bool leave_gradient, CrossEntropyRow row, Stream stream) {
  if (rows == 0) return;
  const auto with = [&](auto kernel, int64_t shared_bytes) {
    launch_with_shared("cross_entropy", kernel, dim3(static_cast<unsigned>(rows)), dim3(kCrossEntropyThreads),
                       static_cast<int>(shared_bytes), stream, logits, targets, losses, columns, vocab_size,
                       leave_gradient);
  };
  if (columns % kVector<T> != 0) return with(cross_entropy_kernel<T, 1, false>, 0);
  // Only the gradient needs a second read.
  const int64_t bytes = row_bytes<T>(vocab_size);
  const auto shared = cross_entropy_kernel<T, kVector<T>, true>;
  if (leave_gradient && is_row_shared(row, bytes, shared_memory()) &&
      allow_shared_memory(shared, static_cast<int>(bytes))) {
    return with(shared, bytes);
  }
  with(cross_entropy_kernel<T, kVector<T>, false>, 0);
}

}  // namespace ssgpt::kernels::cuda
