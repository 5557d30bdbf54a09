#include "kernels/cuda/rope.cuh"
#include "kernels/cuda/row_scale_backward.cuh"
#include "kernels/cuda/table.h"

namespace ssgpt::kernels::cuda {
namespace {

template <typename T>
void fill(DataKernels<T>& kernels) {
  kernels.rope_forward = rope_forward<T>;
  kernels.rope_backward = rope_backward<T>;
}

}  // namespace

void fill_rope(Table& table) {
  fill(table.fp32);
  fill(table.bf16);
  table.row_scale_backward = row_scale_backward;
}

}  // namespace ssgpt::kernels::cuda
