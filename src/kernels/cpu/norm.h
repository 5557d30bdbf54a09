// Loops for RMSNorm.
#pragma once

#include "kernels/cpu/vector_math.h"

namespace ssgpt::kernels::cpu::SSGPT_ISA {

template <typename T>
float squared_length(const T* x, int64_t width) {
  float sum = 0.0f;
#pragma omp simd reduction(+ : sum)
  for (int64_t i = 0; i < width; ++i) sum += load(x[i]) * load(x[i]);
  return sum;
}

inline float rstd_of(float squared_length, float eps, int64_t width) {
  return 1.0f / __builtin_sqrtf(squared_length / static_cast<float>(width) + eps);
}

template <typename T>
float normalize_row(const T* x, const T* weight, float sum_of_squares, float eps, T* out, int64_t width) {
  const float rstd = rstd_of(sum_of_squares, eps, width);
#pragma omp simd
  for (int64_t i = 0; i < width; ++i) store(out[i], load(x[i]) * rstd * load(weight[i]));
  return rstd;
}

template <typename T>
void rms_norm_forward(const T* x, const T* weight, float eps, T* out, float* rstd, int64_t rows,
                      int64_t width) {
  for (int64_t row = 0; row < rows; ++row, x += width, out += width) {
    rstd[row] = normalize_row(x, weight, squared_length(x, width), eps, out, width);
  }
}

template <typename T>
void add_rms_norm_forward(const T* residual, const T* branch, const T* weight, float eps, T* sum, T* out,
                          float* rstd, int64_t rows, int64_t width) {
  for (int64_t row = 0; row < rows; ++row, residual += width, branch += width, sum += width, out += width) {
    float squares = 0.0f;
#pragma omp simd reduction(+ : squares)
    for (int64_t i = 0; i < width; ++i) {
      T rounded;
      store(rounded, load(residual[i]) + load(branch[i]));
      sum[i] = rounded;
      squares += load(rounded) * load(rounded);
    }
    rstd[row] = normalize_row(sum, weight, squares, eps, out, width);
  }
}

template <typename T>
void rms_norm_backward(const T* d_out, const T* x, const T* weight, const float* rstd, bool accumulate,
                       T* d_x, float* d_weight, int64_t rows, int64_t width) {
  for (int64_t row = 0; row < rows; ++row, d_out += width, x += width, d_x += width) {
    const float r = rstd[row];
    float dot = 0.0f;
#pragma omp simd reduction(+ : dot)
    for (int64_t i = 0; i < width; ++i) dot += load(d_out[i]) * load(weight[i]) * load(x[i]);
    const float along_x = dot * r * r * r / static_cast<float>(width);
#pragma omp simd
    for (int64_t i = 0; i < width; ++i) {
      const float dy = load(d_out[i]);
      const float value = load(x[i]);
      d_weight[i] += dy * value * r;
      const float before = accumulate ? load(d_x[i]) : 0.0f;
      store(d_x[i], before + dy * load(weight[i]) * r - along_x * value);
    }
  }
}

}  // namespace ssgpt::kernels::cpu::SSGPT_ISA
