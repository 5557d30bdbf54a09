// Matrix products on a GPU, by cuBLASLt.
#pragma once

#include "kernels/cuda/table.h"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

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

// For measurements: other ways to compute a product than the one that multiply() takes.

// What a way may use. The defaults are multiply()'s.
struct ProductTerms {
  size_t workspace_bytes = kProductWorkspaceBytes;
  // Whether the parts of a sum that is split may be added in the output, in its dtype, as well; else only in
  // the workspace in fp32.
  bool any_reduction = false;
};

// An algorithm for products of one shape, with operands laid out and aligned as those it was proposed for.
struct ProductPlan;

// The algorithms that cuBLASLt proposes for the current device, the one that it expects to be fastest first,
// `most` at most. Throws core::RunError where there is none.
std::vector<std::shared_ptr<const ProductPlan>> propose(const Product& product, const ProductTerms& terms,
                                                        int most);

// multiply() by one of them. workspace: as many bytes as the terms said.
void multiply(const Product& product, const ProductPlan& plan, void* workspace, Stream stream);

// "algorithm 66, tile 20, stages 36, 4 splits, workspace 12.0 MiB": cuBLASLt's numbers.
std::string describe(const ProductPlan& plan);

}  // namespace ssgpt::kernels::cuda
