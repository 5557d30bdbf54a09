// Loops for SwiGLU.
#pragma once

#include "kernels/cpu/vector_math.h"

namespace ssgpt::kernels::cpu::SSGPT_ISA {

template <typename T>
void swiglu_forward(const T* gate_up, T* out, int64_t rows, int64_t width) {
  for (int64_t row = 0; row < rows; ++row, gate_up += 2 * width, out += width) {
    const T* up = gate_up + width;
#pragma omp simd
    for (int64_t i = 0; i < width; ++i) {
      const float gate = load(gate_up[i]);
      store(out[i], gate / (1.0f + exp(-gate)) * load(up[i]));
    }
  }
}

template <typename T>
void swiglu_backward(const T* d_out, const T* gate_up, T* d_gate_up, int64_t rows, int64_t width) {
  for (int64_t row = 0; row < rows; ++row, d_out += width, gate_up += 2 * width, d_gate_up += 2 * width) {
    const T* up = gate_up + width;
    T* d_up = d_gate_up + width;
#pragma omp simd
    for (int64_t i = 0; i < width; ++i) {
      const float d = load(d_out[i]);
      const float g = load(gate_up[i]);
      const float u = load(up[i]);
      const float sigmoid = 1.0f / (1.0f + exp(-g));
      store(d_gate_up[i], d * u * sigmoid * (1.0f + g * (1.0f - sigmoid)));
      store(d_up[i], d * g * sigmoid);
    }
  }
}

}  // namespace ssgpt::kernels::cpu::SSGPT_ISA
