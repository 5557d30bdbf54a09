#include "kernels/cuda/norm.cuh"
#include "kernels/cuda/table.h"

namespace ssgpt::kernels::cuda {
namespace {

template <typename T>
void fill(DataKernels<T>& kernels) {
  kernels.rms_norm_forward = rms_norm_forward<T>;
  kernels.add_rms_norm_forward = add_rms_norm_forward<T>;
  kernels.rms_norm_backward = rms_norm_backward<T>;
}

}  // namespace

void fill_norm(Table& table) {
  fill(table.fp32);
  fill(table.bf16);
  table.add_row_sums = add_row_sums;
}

}  // namespace ssgpt::kernels::cuda
