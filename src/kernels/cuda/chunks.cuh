// Final stage of a sum over rows: adds the partial sums of the chunks in order.
#pragma once

#include "kernels/cuda/launch.cuh"

#include <algorithm>
#include <cstdint>

namespace ssgpt::kernels::cuda {

// Sums of one shape handled by one launch.
struct RowSumsList {
  static constexpr int kMost = 4;
  RowSumsView sums[kMost];
};

// total += the chunks' partial sums, (chunks, width), for each sum of the list. One block per 32 columns of
// each sum: its warps take the chunks in turn, and their results are added in warp order.
template <int kWarps>
__global__ void __launch_bounds__(kWarps* kWarp)
    add_row_sums_kernel(const __grid_constant__ RowSumsList list, int64_t chunks, int width) {
  __shared__ float of_warps[kWarps][kWarp];
  const RowSumsView sums = list.sums[blockIdx.y];
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int warp = static_cast<int>(threadIdx.x) / kWarp;
  const int column = static_cast<int>(blockIdx.x) * kWarp + lane;
  float sum = 0.0f;
  if (column < width) {
    for (int64_t chunk = warp; chunk < chunks; chunk += kWarps) sum += sums.of_chunks[chunk * width + column];
  }
  of_warps[warp][lane] = sum;
  __syncthreads();
  if (warp > 0 || column >= width) return;
  for (int w = 1; w < kWarps; ++w) sum += of_warps[w][lane];
  sums.total[column] += sum;
}

inline void add_row_sums(const RowSumsView* sums, int64_t count, int64_t chunks, int64_t width,
                         Stream stream) {
  constexpr int kWarps = 32;
  if (chunks == 0) return;
  for (int64_t first = 0; first < count; first += RowSumsList::kMost) {
    const int64_t taken = std::min<int64_t>(RowSumsList::kMost, count - first);
    RowSumsList list = {};
    std::copy_n(sums + first, taken, list.sums);
    launch("add_row_sums", add_row_sums_kernel<kWarps>,
           dim3(static_cast<unsigned>(divide_up(width, kWarp)), static_cast<unsigned>(taken)),
           dim3(kWarps * kWarp), stream, list, chunks, width);
  }
}

}  // namespace ssgpt::kernels::cuda
