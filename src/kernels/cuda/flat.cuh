// Sums over a flat tensor, and AdamW.
#pragma once

#include "kernels/cuda/launch.cuh"

#include <cmath>
#include <cstdint>

namespace ssgpt::kernels::cuda {

constexpr int kSumThreads = 512;
constexpr int kSumWarps = kSumThreads / kWarp;
constexpr int kAdamWThreads = 256;
constexpr int kAdamWBlocks = 6;  // per SM, at 40 registers per thread

inline bool is_aligned(const void* pointer, uintptr_t bytes) {
  return reinterpret_cast<uintptr_t>(pointer) % bytes == 0;
}

// Consecutive elements that a thread handles together, even if they cannot be loaded together: the order of a
// sum then does not depend on the tensor's alignment.
constexpr int kSumGroup = kVector<float>;

// Loads `count` elements, at most kSumGroup, from `from`, padded with zeros.
template <bool kAligned>
__device__ inline Pack<float, kSumGroup> load_group(const float* from, int64_t count) {
  if (kAligned && count >= kSumGroup) return load_pack<kSumGroup>(from);
  Pack<float, kSumGroup> group;
  for (int i = 0; i < kSumGroup; ++i) group.values[i] = i < count ? from[i] : 0.0f;
  return group;
}

struct Itself {
  __device__ static double of(double x) { return x; }
};
struct Square {
  __device__ static double of(double x) { return x * x; }
};

// One block per chunk: partial[chunk] = sum of Term::of over its elements.
template <typename Term, bool kAligned>
__global__ void __launch_bounds__(kSumThreads)
    sum_chunks_kernel(const float* flat, double* partial, int64_t size) {
  constexpr int kAhead = 4;  // loads in flight
  __shared__ double of_warps[kSumWarps];
  const int64_t begin = int64_t{blockIdx.x} * kFlatChunk;
  const int64_t count = size - begin < kFlatChunk ? size - begin : kFlatChunk;
  double sums[kSumGroup] = {};
  for (int64_t first = threadIdx.x * kSumGroup; first < count; first += kAhead * kSumThreads * kSumGroup) {
    Pack<float, kSumGroup> groups[kAhead];
    for (int ahead = 0; ahead < kAhead; ++ahead) {
      const int64_t offset = first + ahead * kSumThreads * kSumGroup;
      groups[ahead] = load_group<kAligned>(flat + begin + offset, count - offset);
    }
    for (int ahead = 0; ahead < kAhead; ++ahead) {
      for (int i = 0; i < kSumGroup; ++i) sums[i] += Term::of(static_cast<double>(groups[ahead].values[i]));
    }
  }
  const double sum = warps_sum((sums[0] + sums[1]) + (sums[2] + sums[3]), kSumWarps, of_warps);
  if (threadIdx.x == 0) partial[blockIdx.x] = sum;
}

// One block: result = sum of partial.
static __global__ void __launch_bounds__(kSumThreads)
    sum_partial_kernel(const double* partial, double* result, int64_t count) {
  __shared__ double of_warps[kSumWarps];
  double sum = 0.0;
  for (int64_t i = threadIdx.x; i < count; i += kSumThreads) sum += partial[i];
  sum = warps_sum(sum, kSumWarps, of_warps);
  if (threadIdx.x == 0) *result = sum;
}

template <typename Term>
void sum_of(const char* name, const float* flat, double* partial, double* result, int64_t size,
            Stream stream) {
  const int64_t chunks = divide_up(size, kFlatChunk);
  if (chunks > 0) {
    const auto kernel = is_aligned(flat, 16) ? sum_chunks_kernel<Term, true> : sum_chunks_kernel<Term, false>;
    launch(name, kernel, dim3(static_cast<unsigned>(chunks)), dim3(kSumThreads), stream, flat, partial, size);
  }
  launch(name, sum_partial_kernel, dim3(1), dim3(kSumThreads), stream, partial, result, chunks);
}

inline void flat_sum(const float* flat, double* partial, double* result, int64_t size, Stream stream) {
  sum_of<Itself>("flat_sum", flat, partial, result, size, stream);
}

inline void squared_norm(const float* flat, double* partial, double* result, int64_t size, Stream stream) {
  sum_of<Square>("squared_norm", flat, partial, result, size, stream);
}

// The slices of one launch, passed as a kernel argument, which is limited to 4 KB.
struct AdamWParts {
  struct Part {
    AdamWSliceView slice;
    uint32_t first_block;
    bool aligned;  // all its tensors are aligned for vector access
  };
  static constexpr int kMost = 96;
  Part parts[kMost];
  int count = 0;
  uint32_t blocks = 0;
};

constexpr int kAdamWVector = kVector<float>;
// Elements per block: one vector per thread.
constexpr int64_t kAdamWBlock = int64_t{kAdamWThreads} * kAdamWVector;

// The part that a block belongs to: the last with first_block <= block.
__device__ inline int part_of_block(const AdamWParts& list, uint32_t block) {
  int part = 0;
  for (int distance = 64; distance > 0; distance /= 2) {
    static_assert(AdamWParts::kMost <= 128);
    const int later = part + distance;
    if (later < list.count && list.parts[later].first_block <= block) part = later;
  }
  return part;
}

// Loads the first `count` elements of a vector that is partial or unaligned.
__device__ inline Pack<float, kAdamWVector> load_singly(const float* from, int64_t count) {
  return load_group<false>(from, count);
}
template <typename T>
__device__ inline void store_singly(const Pack<T, kAdamWVector>& pack, T* to, int64_t count) {
  for (int i = 0; i < kAdamWVector; ++i) {
    if (i < count) to[i] = pack.values[i];
  }
}

__device__ inline void store_bf16(const Pack<Bfloat16, kAdamWVector>& pack, Bfloat16* to) {
  uint2 bytes;
  static_assert(sizeof bytes == sizeof pack);
  __builtin_memcpy(&bytes, &pack, sizeof bytes);
  store_8_bytes(bytes, to);
}

// Fused multiply-adds are explicit: an element's bits then do not depend on how it is loaded, and so not on
// which rank owns which part of the tensor.
static __global__ void __launch_bounds__(kAdamWThreads, kAdamWBlocks)
    adamw_kernel(AdamWTensors to, const __grid_constant__ AdamWParts list, AdamWScalars s,
                 const float* grad_factor) {
  const AdamWParts::Part& part = list.parts[part_of_block(list, blockIdx.x)];
  const int64_t offset = (blockIdx.x - part.first_block) * kAdamWBlock + threadIdx.x * kAdamWVector;
  const int64_t count = part.slice.size - offset;
  if (count <= 0) return;
  const int64_t at = part.slice.begin + offset;
  const int64_t moment = part.slice.moment + offset;
  const bool whole = part.aligned && count >= kAdamWVector;
  Pack<float, kAdamWVector> w, grad, m, v;
  if (whole) {
    w = load_pack<kAdamWVector>(to.master + at);
    grad = load_pack<kAdamWVector>(to.grad + at);
    m = load_pack<kAdamWVector>(to.exp_avg + moment);
    v = load_pack<kAdamWVector>(to.exp_avg_sq + moment);
  } else {
    w = load_singly(to.master + at, count);
    grad = load_singly(to.grad + at, count);
    m = load_singly(to.exp_avg + moment, count);
    v = load_singly(to.exp_avg_sq + moment, count);
  }
  const float factor = *grad_factor;
  if (!std::isfinite(factor)) return;
  const AdamWRates rates = part.slice.rates;
  Pack<Bfloat16, kAdamWVector> bf16_copy;
  for (int i = 0; i < kAdamWVector; ++i) {
    float& mean = m.values[i];
    float& square = v.values[i];
    float& weight = w.values[i];
    const float g = __fmul_rn(grad.values[i], factor);  // used twice: must not be fused into an fma
    mean = fmaf(s.one_minus_beta1, g - mean, mean);
    square = fmaf(s.beta2, square, s.one_minus_beta2 * g * g);
    const float update = mean / fmaf(sqrtf(square), s.inverse_sqrt_bias2, s.eps);
    weight = fmaf(-rates.step_size, update, weight * rates.keep);
    from_float(weight, bf16_copy.values[i]);
  }
  if (whole) {
    store_pack(w, to.master + at);
    store_pack(m, to.exp_avg + moment);
    store_pack(v, to.exp_avg_sq + moment);
    if (to.bf16_copy != nullptr) store_bf16(bf16_copy, to.bf16_copy + at);
  } else {
    store_singly(w, to.master + at, count);
    store_singly(m, to.exp_avg + moment, count);
    store_singly(v, to.exp_avg_sq + moment, count);
    if (to.bf16_copy != nullptr) store_singly(bf16_copy, to.bf16_copy + at, count);
  }
}

inline void adamw(const AdamWTensors& to, const AdamWSliceView* slices, int64_t count,
                  const AdamWScalars& scalars, const float* grad_factor, Stream stream) {
  static_assert(sizeof(AdamWTensors) + sizeof(AdamWParts) + sizeof(AdamWScalars) + sizeof(void*) <= 4096);
  AdamWParts list;
  const auto queue = [&] {
    if (list.count == 0) return;
    launch("adamw", adamw_kernel, dim3(list.blocks), dim3(kAdamWThreads), stream, to, list, scalars,
           grad_factor);
    list.count = 0;
    list.blocks = 0;
  };
  for (int64_t i = 0; i < count; ++i) {
    const AdamWSliceView& slice = slices[i];
    if (slice.size == 0) continue;
    if (list.count == AdamWParts::kMost) queue();
    const bool aligned = is_aligned(to.master + slice.begin, 16) && is_aligned(to.grad + slice.begin, 16) &&
                         is_aligned(to.exp_avg + slice.moment, 16) &&
                         is_aligned(to.exp_avg_sq + slice.moment, 16) &&
                         (to.bf16_copy == nullptr || is_aligned(to.bf16_copy + slice.begin, 8));
    list.parts[list.count++] = {.slice = slice, .first_block = list.blocks, .aligned = aligned};
    list.blocks += static_cast<uint32_t>(divide_up(slice.size, kAdamWBlock));
  }
  queue();
}

}  // namespace ssgpt::kernels::cuda
