#include "kernels/cuda/table.h"

#include "core/error.h"

#include <c10/cuda/CUDAStream.h>

namespace ssgpt::kernels::cuda {

const Table& table() {
  static const Table filled = [] {
    Table table = {};
    fill_norm(table);
    fill_rope(table);
    fill_swiglu(table);
    fill_cross_entropy(table);
    fill_embedding(table);
    fill_flat(table);
    fill_cached_attention(table);
    return table;
  }();
  return filled;
}

Stream current_stream() {
  return c10::cuda::getCurrentCUDAStream().stream();
}

void fail_launch(const char* kernel, const char* reason) {
  throw core::RunError("CUDA, at the launch of the kernel {}: {}. Earlier work on the GPU may be the cause.",
                       kernel, reason);
}

}  // namespace ssgpt::kernels::cuda
