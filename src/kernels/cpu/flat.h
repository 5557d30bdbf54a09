// Loops over flat fp32 arrays.
#pragma once

#include "kernels/cpu/vector_math.h"

namespace ssgpt::kernels::cpu::SSGPT_ISA {

inline double sum(const float* values, int64_t count) {
  double total = 0.0;
#pragma omp simd reduction(+ : total)
  for (int64_t i = 0; i < count; ++i) total += static_cast<double>(values[i]);
  return total;
}

inline double sum_of_squares(const float* values, int64_t count) {
  double sum = 0.0;
#pragma omp simd reduction(+ : sum)
  for (int64_t i = 0; i < count; ++i) sum += static_cast<double>(values[i]) * static_cast<double>(values[i]);
  return sum;
}

inline void adamw(float* __restrict__ master, const float* __restrict__ grad, float* __restrict__ exp_avg,
                  float* __restrict__ exp_avg_sq, int64_t count, const AdamWScalars& scalars,
                  const AdamWRates& rates, float grad_factor) {
  const AdamWScalars s = scalars;
  const AdamWRates r = rates;
#pragma omp simd
  for (int64_t i = 0; i < count; ++i) {
    const float g = grad[i] * grad_factor;
    const float m = exp_avg[i] + s.one_minus_beta1 * (g - exp_avg[i]);
    const float v = s.beta2 * exp_avg_sq[i] + s.one_minus_beta2 * g * g;
    exp_avg[i] = m;
    exp_avg_sq[i] = v;
    master[i] = master[i] * r.keep - r.step_size * (m / (__builtin_sqrtf(v) * s.inverse_sqrt_bias2 + s.eps));
  }
}

inline void round_to_bf16(const float* values, Bfloat16* rounded, int64_t count) {
#pragma omp simd
  for (int64_t i = 0; i < count; ++i) store(rounded[i], values[i]);
}

}  // namespace ssgpt::kernels::cpu::SSGPT_ISA
