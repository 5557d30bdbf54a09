// Loops for softmax cross-entropy.
#pragma once

#include "kernels/cpu/vector_math.h"

namespace ssgpt::kernels::cpu::SSGPT_ISA {

template <typename T>
float log_sum_exp(const T* logits, int64_t count) {
  const int64_t whole = count / kLanes * kLanes;
  // The comparisons skip NaN, which then reappears in the sum; an infinite maximum gives inf - inf, also NaN.
  const Vector rest = load_first_lanes(logits + whole, count - whole, -__builtin_inff());
  Vector largest = rest;
  for (int64_t i = 0; i < whole; i += kLanes) largest = larger_lanes(largest, load_lanes(logits + i));
  const float most = fold_lanes(largest, larger_lanes);
  Vector sums = exp_of_difference(rest - most);
  for (int64_t i = 0; i < whole; i += kLanes) sums += exp_of_difference(load_lanes(logits + i) - most);
  return most + __builtin_logf(fold_lanes(sums, sum_of_lanes));
}

// Replaces logits by exp(logits - normalizer).
template <typename T>
void exp_in_place(T* logits, int64_t count, float normalizer) {
  const int64_t whole = count / kLanes * kLanes;
  for (int64_t i = 0; i < whole; i += kLanes) {
    store_lanes(logits + i, exp_of_difference(load_lanes(logits + i) - normalizer));
  }
  const Vector rest = exp_of_difference(load_first_lanes(logits + whole, count - whole, 0.0f) - normalizer);
  for (int64_t i = whole; i < count; ++i) store(logits[i], rest[i - whole]);
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
    exp_in_place(logits, vocab_size, normalizer);
    store(logits[target], target_gradient);
    __builtin_memset(logits + vocab_size, 0, static_cast<uint64_t>(columns - vocab_size) * sizeof(T));
  }
}

}  // namespace ssgpt::kernels::cpu::SSGPT_ISA
