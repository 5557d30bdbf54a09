// Inputs and outputs of benchmarked operations.
#pragma once

#include "model/gpt.h"

#include <cstdint>

#include <ATen/core/Tensor.h>

namespace ssgpt::bench {

// Creates tensors on the device of an operation. "data" is the compute dtype, as in kernels/ops.h.
class TensorMaker {
 public:
  explicit TensorMaker(const model::Execution& execution)
      : data_(at::TensorOptions(execution.device).dtype(execution.dtype)), fp32_(data_.dtype(at::kFloat)) {}

  // Small values, so that repeated in-place updates stay finite.
  at::Tensor random(at::IntArrayRef shape) const;
  at::Tensor random_fp32(at::IntArrayRef shape) const;
  at::Tensor zeros(at::IntArrayRef shape) const;
  at::Tensor zeros_fp32(at::IntArrayRef shape) const;
  at::Tensor ids(int64_t count, int64_t below) const;              // int64
  at::Tensor constant(double value, at::IntArrayRef shape) const;  // fp32

 private:
  at::TensorOptions data_, fp32_;
};

}  // namespace ssgpt::bench
