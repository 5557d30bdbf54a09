// What the tests of the fused operations on a GPU share beyond gpu_support.h: references in fp64, outputs
// that hold what no result may, and inputs that come late.
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
  // The same, for autograd.   x: not fp64.
  static at::Tensor leaf(const at::Tensor& x) { return fp64(x).requires_grad_(); }

  // On the GPU: an element that an operation leaves out shows.
  static at::Tensor nans(at::IntArrayRef shape, at::ScalarType dtype = at::kFloat) {
    return at::full(shape, std::nan(""), at::TensorOptions(device()).dtype(dtype));
  }

  // On the GPU: NaN at first, and `values`, of the GPU as well, only after other work of the current stream
  // that takes some 10 ms. What does not wait for that stream reads NaN. All else that an operation takes is
  // to be on the GPU before: a copy from the host waits.
  static at::Tensor late(const at::Tensor& values) {
    const at::Tensor result = at::full(values.sizes(), std::nan(""), values.options());
    at::cuda::sleep(/*cycles=*/20'000'000);
    result.copy_(values);
    return result;
  }
};

}  // namespace ssgpt::kernels
