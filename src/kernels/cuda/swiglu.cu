#include "kernels/cuda/swiglu.cuh"
#include "kernels/cuda/table.h"

namespace ssgpt::kernels::cuda {
namespace {

template <typename T>
void fill(DataKernels<T>& kernels) {
  kernels.swiglu_forward = swiglu_forward<T>;
  kernels.swiglu_backward = swiglu_backward<T>;
}

}  // namespace

void fill_swiglu(Table& table) {
  fill(table.fp32);
  fill(table.bf16);
}

}  // namespace ssgpt::kernels::cuda
