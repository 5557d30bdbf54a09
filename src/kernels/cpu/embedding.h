// Loops for the embedding.
#pragma once

#include "kernels/cpu/vector_math.h"

namespace ssgpt::kernels::cpu::SSGPT_ISA {

template <typename T>
void embedding_forward(const int64_t* tokens, const T* table, T* out, int64_t rows, int64_t width) {
  for (int64_t row = 0; row < rows; ++row) {
    __builtin_memcpy(out + row * width, table + tokens[row] * width,
                     static_cast<uint64_t>(width) * sizeof(T));
  }
}

template <typename T>
void embedding_backward(const int64_t* tokens, const T* d_out, float* d_table, int64_t rows, int64_t width,
                        int64_t begin, int64_t end) {
  for (int64_t row = 0; row < rows; ++row) {
    const T* from = d_out + row * width;
    float* to = d_table + tokens[row] * width;
#pragma omp simd
    for (int64_t i = begin; i < end; ++i) to[i] += load(from[i]);
  }
}

}  // namespace ssgpt::kernels::cpu::SSGPT_ISA
