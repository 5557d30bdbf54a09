// Shared by the tests of the fused operations on a GPU, in addition to gpu_support.h: fp64 references,
// outputs filled with values that no result may have, and inputs that arrive late.
#pragma once

#include "gpu_support.h"

#include <cmath>

#include <ATen/core/Tensor.h>
#include <ATen/cuda/Sleep.h>
#include <ATen/ops/full.h>

namespace ssgpt::kernels {

class OpOnGpu : public OnGpu {
 protected:
  static at::Tensor fp64(const at::Tensor& x) { return x.cpu().to(at::kDouble); }
  // Likewise, for autograd.   x: not fp64.
  static at::Tensor leaf(const at::Tensor& x) { return fp64(x).requires_grad_(); }

  // On the GPU: exposes elements that an operation does not write.
  static at::Tensor nans(at::IntArrayRef shape, at::ScalarType dtype = at::kFloat) {
    return at::full(shape, std::nan(""), at::TensorOptions(device()).dtype(dtype));
  }

  // On the GPU: NaN at first; `values`, also on the GPU, only after about 10 ms of other work on the current
  // stream. An operation that does not wait for that stream reads NaN. All its other inputs must already be
  // on the GPU, because a copy from the host waits.
  static at::Tensor late(const at::Tensor& values) {
    const at::Tensor result = at::full(values.sizes(), std::nan(""), values.options());
    at::cuda::sleep(/*cycles=*/20'000'000);
    result.copy_(values);
    return result;
  }
};

}  // namespace ssgpt::kernels
