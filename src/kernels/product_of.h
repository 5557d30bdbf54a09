// A matrix product of tensors as cuBLASLt's interface describes it, and the products that are asked for.
#pragma once

#include "kernels/cuda/product.h"

#include <map>

#include <ATen/core/Tensor.h>

namespace ssgpt::kernels {

// out (m, n) = a (m, k) b (k, n), or +=, whatever the device. a, b: contiguous or the transpose of a
// contiguous matrix, of one dtype. out: contiguous.
cuda::Product product_of(const at::Tensor& a, const at::Tensor& b, bool accumulate, const at::Tensor& out);

// While it lives, notes the products that this thread asks for by matrix_product(), on any device.
class ProductRecorder {
 public:
  ProductRecorder();
  ~ProductRecorder();
  ProductRecorder(const ProductRecorder&) = delete;
  ProductRecorder& operator=(const ProductRecorder&) = delete;

  // With choice alignment; whether any product of the shape was added to what was there.
  const std::map<ProductShape, bool>& shapes() const { return shapes_; }

  // For matrix_product().
  static bool is_listening();
  static void note(const cuda::Product& product);

 private:
  std::map<ProductShape, bool> shapes_;
  ProductRecorder* const outer_;
};

}  // namespace ssgpt::kernels
