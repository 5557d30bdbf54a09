// A GEMM of tensors as a cuBLASLt problem description, and a recorder of the GEMMs that are requested.
#pragma once

#include "kernels/cuda/product.h"

#include <map>

#include <ATen/core/Tensor.h>

namespace ssgpt::kernels {

// Describes out (m, n) = a (m, k) b (k, n), or +=, on any device. a, b: contiguous or the transpose of a
// contiguous matrix, of one dtype. out: contiguous.
cuda::Product product_of(const at::Tensor& a, const at::Tensor& b, bool accumulate, const at::Tensor& out);

// During its lifetime, records the GEMMs that this thread requests through matrix_product(), on any device.
class ProductRecorder {
 public:
  ProductRecorder();
  ~ProductRecorder();
  ProductRecorder(const ProductRecorder&) = delete;
  ProductRecorder& operator=(const ProductRecorder&) = delete;

  // Shapes with choice alignment, each with whether any GEMM of that shape accumulated into its output.
  const std::map<ProductShape, bool>& shapes() const { return shapes_; }

  // For matrix_product().
  static bool is_listening();
  static void note(const cuda::Product& product);

 private:
  std::map<ProductShape, bool> shapes_;
  ProductRecorder* const outer_;
};

}  // namespace ssgpt::kernels
