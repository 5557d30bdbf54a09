// The loops of softmax cross-entropy.
#pragma once

#include "kernels/cpu/vector_math.h"

namespace ssgpt::kernels::cpu::SSGPT_ISA {

template <typename T>
float log_sum_exp(const T* logits, int64_t count) {
  float largest = load(logits[0]);
#pragma omp simd reduction(max : largest)
  for (int64_t i = 1; i < count; ++i) largest = load(logits[i]) > largest ? load(logits[i]) : largest;
  // A NaN that the comparisons passed over comes back here; an infinite maximum makes inf - inf, NaN as well.
  float sum = 0.0f;
#pragma omp simd reduction(+ : sum)
  for (int64_t i = 0; i < count; ++i) sum += exp(load(logits[i]) - largest);
  return largest + __builtin_logf(sum);
}

template <typename T>
void cross_entropy(T* logits, const int64_t* targets, float* losses, int64_t rows, int64_t columns,
                   int64_t vocab_size, bool leave_gradient) {
  for (int64_t row = 0; row < rows; ++row, logits += columns) {
    const int64_t target = targets[row];
    if (target < 0) {
      losses[row] = 0.0f;
      if (leave_gradient) __builtin_memset(logits, 0, static_cast<uint64_t>(columns) * sizeof(T));
      continue;
    }
    const float normalizer = log_sum_exp(logits, vocab_size);
    losses[row] = normalizer - load(logits[target]);
    if (!leave_gradient) continue;
    const float target_gradient = exp(load(logits[target]) - normalizer) - 1.0f;
#pragma omp simd
    for (int64_t i = 0; i < vocab_size; ++i) store(logits[i], exp(load(logits[i]) - normalizer));
    store(logits[target], target_gradient);
    __builtin_memset(logits + vocab_size, 0, static_cast<uint64_t>(columns - vocab_size) * sizeof(T));
  }
}

}  // namespace ssgpt::kernels::cpu::SSGPT_ISA
