#include "kernels/cuda/cross_entropy.cuh"
#include "kernels/cuda/table.h"

namespace ssgpt::kernels::cuda {

void fill_cross_entropy(Table& table) {
  table.fp32.cross_entropy = cross_entropy<float>;
  table.bf16.cross_entropy = cross_entropy<Bfloat16>;
}

}  // namespace ssgpt::kernels::cuda
