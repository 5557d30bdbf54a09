// SwiGLU, forward and backward: one thread per vector of a row.
#pragma once

#include "kernels/cuda/launch.cuh"

#include <algorithm>
#include <cstdint>
#include <type_traits>

namespace ssgpt::kernels::cuda {

constexpr int kSwigluThreads = 256;

// Uses the hardware's division, accurate to 2 ulp (CUDA C++ Programming Guide, "Intrinsic Functions"): the
// correctly rounded one is a function call and half of the kernel's instructions. It may return 0 where 1 +
// e^-x exceeds 2^126.
__device__ inline float sigmoid(float x) {
  return __fdividef(1.0f, 1.0f + expf(-x));
}

template <typename T, int kWidth>
__global__ void swiglu_forward_kernel(const T* gate_up, T* out, int64_t width) {
  const int64_t column = (int64_t{blockIdx.y} * blockDim.x + threadIdx.x) * kWidth;
  if (column >= width) return;
  const T* row = gate_up + int64_t{blockIdx.x} * 2 * width;
  const Pack<T, kWidth> gate = load_pack<kWidth>(row + column);
  const Pack<T, kWidth> up = load_pack<kWidth>(row + width + column);
  Pack<T, kWidth> result;
  for (int i = 0; i < kWidth; ++i) {
    const float g = to_float(gate.values[i]);
    from_float(g * sigmoid(g) * to_float(up.values[i]), result.values[i]);
  }
  store_pack(result, out + int64_t{blockIdx.x} * width + column);
}

// d_gate_up may be gate_up: a thread writes only what it has read itself.
template <typename T, int kWidth>
__global__ void swiglu_backward_kernel(const T* d_out, const T* gate_up, T* d_gate_up, int64_t width) {
  const int64_t column = (int64_t{blockIdx.y} * blockDim.x + threadIdx.x) * kWidth;
  if (column >= width) return;
  const int64_t row = int64_t{blockIdx.x} * 2 * width;
  const Pack<T, kWidth> d = load_pack<kWidth>(d_out + int64_t{blockIdx.x} * width + column);
  const Pack<T, kWidth> gate = load_pack<kWidth>(gate_up + row + column);
  const Pack<T, kWidth> up = load_pack<kWidth>(gate_up + row + width + column);
  Pack<T, kWidth> d_gate;
  Pack<T, kWidth> d_up;
  for (int i = 0; i < kWidth; ++i) {
    const float g = to_float(gate.values[i]);
    const float s = sigmoid(g);
    const float dy = to_float(d.values[i]);
    from_float(dy * to_float(up.values[i]) * s * (1.0f + g * (1.0f - s)), d_gate.values[i]);
    from_float(dy * g * s, d_up.values[i]);
  }
  store_pack(d_gate, d_gate_up + row + column);
  store_pack(d_up, d_gate_up + row + width + column);
}

// Calls body(vector width as a constant, blocks, threads per block) for rows of `width` elements of T.
template <typename T, typename Body>
void with_swiglu_grid(int64_t rows, int64_t width, const Body& body) {
  if (rows == 0 || width == 0) return;
  const auto with = [&]<int kWidth>(std::integral_constant<int, kWidth> constant) {
    const int64_t threads = divide_up(width, kWidth);
    const int64_t block = std::min<int64_t>(kSwigluThreads, divide_up(threads, kWarp) * kWarp);
    body(constant, dim3(static_cast<unsigned>(rows), static_cast<unsigned>(divide_up(threads, block))),
         dim3(static_cast<unsigned>(block)));
  };
  if (width % kVector<T> == 0) {
    with(std::integral_constant<int, kVector<T>>());
  } else {
    with(std::integral_constant<int, 1>());
  }
}

template <typename T>
void swiglu_forward(const T* gate_up, T* out, int64_t rows, int64_t width, Stream stream) {
  with_swiglu_grid<T>(rows, width, [&](auto vector, dim3 grid, dim3 block) {
    launch("swiglu_forward", swiglu_forward_kernel<T, vector()>, grid, block, stream, gate_up, out, width);
  });
}

template <typename T>
void swiglu_backward(const T* d_out, const T* gate_up, T* d_gate_up, int64_t rows, int64_t width,
                     Stream stream) {
  with_swiglu_grid<T>(rows, width, [&](auto vector, dim3 grid, dim3 block) {
    launch("swiglu_backward", swiglu_backward_kernel<T, vector()>, grid, block, stream, d_out, gate_up,
           d_gate_up, width);
  });
}

}  // namespace ssgpt::kernels::cuda
