#include "bench/tensor_maker.h"

#include <ATen/ops/full.h>
#include <ATen/ops/randint.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/zeros.h>

namespace ssgpt::bench {

at::Tensor TensorMaker::random(at::IntArrayRef shape) const {
  return at::randn(shape, data_).mul_(0.1);
}
at::Tensor TensorMaker::random_fp32(at::IntArrayRef shape) const {
  return at::randn(shape, fp32_).mul_(0.1);
}
at::Tensor TensorMaker::zeros(at::IntArrayRef shape) const {
  return at::zeros(shape, data_);
}
at::Tensor TensorMaker::zeros_fp32(at::IntArrayRef shape) const {
  return at::zeros(shape, fp32_);
}
at::Tensor TensorMaker::ids(int64_t count, int64_t below) const {
  return at::randint(below, {count}, data_.dtype(at::kLong));
}
at::Tensor TensorMaker::constant(double value, at::IntArrayRef shape) const {
  return at::full(shape, value, fp32_);
}

}  // namespace ssgpt::bench
