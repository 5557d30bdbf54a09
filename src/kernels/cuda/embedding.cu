#include "kernels/cuda/embedding.cuh"
#include "kernels/cuda/table.h"

namespace ssgpt::kernels::cuda {
namespace {

template <typename T>
void fill(DataKernels<T>& kernels) {
  kernels.embedding_forward = embedding_forward<T>;
  kernels.embedding_backward = embedding_backward<T>;
}

}  // namespace

void fill_embedding(Table& table) {
  fill(table.fp32);
  fill(table.bf16);
}

}  // namespace ssgpt::kernels::cuda
