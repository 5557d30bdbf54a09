// Matrix products on a GPU, by cuBLASLt.
#pragma once

#include "kernels/cuda/table.h"

#include <cstddef>
#include <cstdint>

namespace ssgpt::kernels::cuda {

// A row-major matrix in memory, or the transpose of one.
struct ProductOperand {
  const void* data;
  bool transposed;
};

// out (m, n) = a (m, k) b (k, n), or += where `accumulate`; sums in fp32.
struct Product {
  ProductOperand a;
  ProductOperand b;
  void* out;  // row-major
  int64_t m, n, k;
  bool bf16_inputs;  // else fp32, which is multiplied as such, never as TF32
  bool bf16_out;     // else fp32
  bool accumulate;
};

// What a product may use beside its operands.
constexpr size_t kProductWorkspaceBytes = size_t{32} << 20;

// Queues the product on `stream`. How a shape is computed is what cuBLASLt proposes first, asked for once;
// with the same library, GPU and alignment that gives the same bits each time. workspace:
// kProductWorkspaceBytes on the device, of this stream alone. Throws core::RunError where cuBLASLt cannot.
void multiply(const Product& product, void* workspace, Stream stream);

}  // namespace ssgpt::kernels::cuda
