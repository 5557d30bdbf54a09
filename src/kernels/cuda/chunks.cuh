// The end of a sum over rows: what each chunk of them came to is added in the order of the chunks.
#pragma once

#include "kernels/cuda/launch.cuh"

#include <cstdint>

namespace ssgpt::kernels::cuda {

// total += the chunks' sums, (chunks, width). A block for each 32 columns: its warps take the chunks in turn,
// and are added in their order.
template <int kWarps>
__global__ void __launch_bounds__(kWarps* kWarp)
    add_chunks_kernel(const float* sums, float* total, int64_t chunks, int width) {
  __shared__ float of_warps[kWarps][kWarp];
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int warp = static_cast<int>(threadIdx.x) / kWarp;
  const int column = static_cast<int>(blockIdx.x) * kWarp + lane;
  float sum = 0.0f;
  if (column < width) {
    for (int64_t chunk = warp; chunk < chunks; chunk += kWarps) sum += sums[chunk * width + column];
  }
  of_warps[warp][lane] = sum;
  __syncthreads();
  if (warp > 0 || column >= width) return;
  for (int w = 1; w < kWarps; ++w) sum += of_warps[w][lane];
  total[column] += sum;
}

inline void add_chunks(const float* sums, float* total, int64_t chunks, int64_t width, Stream stream) {
  constexpr int kWarps = 32;
  launch("add_chunks", add_chunks_kernel<kWarps>, dim3(static_cast<unsigned>(divide_up(width, kWarp))),
         dim3(kWarps * kWarp), stream, sums, total, chunks, width);
}

}  // namespace ssgpt::kernels::cuda
