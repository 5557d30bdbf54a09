// The cases of kernel_cases.h that belong to attention: rotation, row scale, attention itself. And what all
// cases fill their tensors with.
#pragma once

#include "bench/kernel_cases.h"

#include <vector>

#include <ATen/core/Tensor.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/zeros.h>

namespace ssgpt::bench {

std::vector<KernelCase> attention_cases();

// Small values, so that repeated in-place updates stay finite.
inline at::Tensor random(at::IntArrayRef shape) {
  return at::randn(shape, at::TensorOptions().dtype(at::kFloat)).mul_(0.1);
}
inline at::Tensor zeros(at::IntArrayRef shape) {
  return at::zeros(shape, at::TensorOptions().dtype(at::kFloat));
}

}  // namespace ssgpt::bench
