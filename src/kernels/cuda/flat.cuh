// Sums over a flat tensor, and AdamW.
#pragma once

#include "kernels/cuda/launch.cuh"

#include <cmath>
#include <cstdint>

namespace ssgpt::kernels::cuda {

constexpr int kSumThreads = 512;
constexpr int kSumWarps = kSumThreads / kWarp;
constexpr int kAdamWThreads = 256;

inline bool is_aligned(const void* pointer, uintptr_t bytes) {
  return reinterpret_cast<uintptr_t>(pointer) % bytes == 0;
}

// Consecutive elements that a thread takes at once. They stay together where they cannot be read together:
// the order of a sum does not depend on where the tensor begins.
constexpr int kSumGroup = kVector<float>;

// The `count` elements, at most kSumGroup, at `from`, and zeros behind them.
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

// A block for each chunk: partial[chunk] = the sum of Term::of of its elements.
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

// One block: result = the sum of partial.
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

struct AdamWPointers {
  float* master;
  const float* grad;
  float* exp_avg;
  float* exp_avg_sq;
  Bfloat16* shadow;  // or null
};

// A thread takes kPacks vectors, a block's threads apart. The fused multiply-adds are written out: an
// element's bits do not depend on kWidth, so not on who owns which part of the tensor.
template <int kWidth, int kPacks>
__global__ void __launch_bounds__(kAdamWThreads)
    adamw_kernel(AdamWPointers to, int64_t count, AdamWScalars s, const float* grad_factor) {
  using Values = Pack<float, kWidth>;
  constexpr int kStride = kAdamWThreads * kWidth;
  const int64_t begin = int64_t{blockIdx.x} * kStride * kPacks + threadIdx.x * kWidth;
  Values w[kPacks], grad[kPacks], m[kPacks], v[kPacks];
  for (int pack = 0; pack < kPacks; ++pack) {
    const int64_t at = begin + pack * kStride;
    if (at >= count) break;
    w[pack] = load_pack<kWidth>(to.master + at);
    grad[pack] = load_pack<kWidth>(to.grad + at);
    m[pack] = load_pack<kWidth>(to.exp_avg + at);
    v[pack] = load_pack<kWidth>(to.exp_avg_sq + at);
  }
  const float factor = *grad_factor;
  if (!std::isfinite(factor)) return;
  for (int pack = 0; pack < kPacks; ++pack) {
    const int64_t at = begin + pack * kStride;
    if (at >= count) break;
    Pack<Bfloat16, kWidth> shadow;
    for (int i = 0; i < kWidth; ++i) {
      float& mean = m[pack].values[i];
      float& square = v[pack].values[i];
      float& weight = w[pack].values[i];
      const float g = __fmul_rn(grad[pack].values[i], factor);  // used twice: never part of an fma
      mean = fmaf(s.one_minus_beta1, g - mean, mean);
      square = fmaf(s.beta2, square, s.one_minus_beta2 * g * g);
      const float update = mean / fmaf(sqrtf(square), s.inverse_sqrt_bias2, s.eps);
      weight = fmaf(-s.step_size, update, weight * s.keep);
      from_float(weight, shadow.values[i]);
    }
    store_pack(w[pack], to.master + at);
    store_pack(m[pack], to.exp_avg + at);
    store_pack(v[pack], to.exp_avg_sq + at);
    if (to.shadow != nullptr) store_pack(shadow, to.shadow + at);
  }
}

// count: a multiple of kWidth, all pointers at multiples of kWidth elements.
template <int kWidth, int kPacks>
void launch_adamw(const AdamWPointers& to, int64_t count, const AdamWScalars& scalars,
                  const float* grad_factor, Stream stream) {
  if (count == 0) return;
  const int64_t blocks = divide_up(count, int64_t{kAdamWThreads} * kWidth * kPacks);
  launch("adamw", adamw_kernel<kWidth, kPacks>, dim3(static_cast<unsigned>(blocks)), dim3(kAdamWThreads),
         stream, to, count, scalars, grad_factor);
}

inline void adamw(float* master, const float* grad, float* exp_avg, float* exp_avg_sq, Bfloat16* shadow,
                  int64_t count, const AdamWScalars& scalars, const float* grad_factor, Stream stream) {
  constexpr int kWidth = kVector<float>;
  constexpr int kSingles = 4;  // single elements that keep as many bytes in flight
  const bool aligned = is_aligned(master, 16) && is_aligned(grad, 16) && is_aligned(exp_avg, 16) &&
                       is_aligned(exp_avg_sq, 16) && is_aligned(shadow, 8);
  const int64_t in_packs = aligned ? count / kWidth * kWidth : 0;
  launch_adamw<kWidth, 1>({master, grad, exp_avg, exp_avg_sq, shadow}, in_packs, scalars, grad_factor,
                          stream);
  const AdamWPointers rest = {master + in_packs, grad + in_packs, exp_avg + in_packs, exp_avg_sq + in_packs,
                              shadow == nullptr ? nullptr : shadow + in_packs};
  launch_adamw<1, kSingles>(rest, count - in_packs, scalars, grad_factor, stream);
}

}  // namespace ssgpt::kernels::cuda
