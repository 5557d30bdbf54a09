#include "kernels/cuda/cached_attention.cuh"
#include "kernels/cuda/table.h"

namespace ssgpt::kernels::cuda {

void fill_cached_attention(Table& table) {
  table.fp32.cached_attention = cached_attention<float>;
  table.bf16.cached_attention = cached_attention<Bfloat16>;
}

}  // namespace ssgpt::kernels::cuda
