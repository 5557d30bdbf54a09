// Loops for skinny GEMM (few rows).
#pragma once

#include "kernels/cpu/vector_math.h"

namespace ssgpt::kernels::cpu::SSGPT_ISA {

// Prefetches `count` elements 8 KiB after `from`: the four short streams of a group are too short for the
// hardware prefetcher, and without this the loop mostly waits for memory. The data there is usually the
// weight that is read next; prefetching an invalid address does nothing.
template <typename T>
void prefetch_ahead(const T* from, int64_t count) {
  constexpr int64_t kAheadBytes = 8192;
  constexpr int64_t kLineBytes = 64;
  const char* line = reinterpret_cast<const char*>(from) + kAheadBytes;
  const int64_t bytes = count * static_cast<int64_t>(sizeof(T));
  for (int64_t i = 0; i < bytes; i += kLineBytes) __builtin_prefetch(line + i);
}

// Four rows of the weight stay in the L1 cache while every row of x is multiplied with them, so the weight is
// read from memory once. The order of each sum does not depend on `rows`.
template <typename T, typename Out>
void thin_linear(const T* x, const T* weight, Out* out, int64_t rows, int64_t inputs, int64_t outputs,
                 int64_t begin, int64_t end) {
  int64_t n = begin;
  for (; n + 4 <= end; n += 4) {
    const T* w = weight + n * inputs;
    prefetch_ahead(w, 4 * inputs);
    for (int64_t row = 0; row < rows; ++row) {
      const T* in = x + row * inputs;
      float a = 0.0f, b = 0.0f, c = 0.0f, d = 0.0f;
#pragma omp simd reduction(+ : a, b, c, d)
      for (int64_t i = 0; i < inputs; ++i) {
        const float value = load(in[i]);
        a += value * load(w[i]);
        b += value * load(w[inputs + i]);
        c += value * load(w[2 * inputs + i]);
        d += value * load(w[3 * inputs + i]);
      }
      Out* to = out + row * outputs + n;
      store(to[0], a);
      store(to[1], b);
      store(to[2], c);
      store(to[3], d);
    }
  }
  for (; n < end; ++n) {
    const T* w = weight + n * inputs;
    for (int64_t row = 0; row < rows; ++row) {
      const T* in = x + row * inputs;
      float sum = 0.0f;
#pragma omp simd reduction(+ : sum)
      for (int64_t i = 0; i < inputs; ++i) sum += load(in[i]) * load(w[i]);
      store(out[row * outputs + n], sum);
    }
  }
}

}  // namespace ssgpt::kernels::cpu::SSGPT_ISA
