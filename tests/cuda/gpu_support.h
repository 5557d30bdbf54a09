// Shared by the tests of kernels/ops.h on a GPU: the GPU, inputs, and comparison with results of the CPU.
#pragma once

#include "device/cuda_library.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <optional>
#include <string>

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/Context.h>
#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/full_like.h>
#include <ATen/ops/randint.h>
#include <ATen/ops/randn.h>
#include <c10/cuda/CUDAFunctions.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#include <gtest/gtest.h>

namespace ssgpt::kernels {

// Before a test asks ATen for CUDA.
inline const std::string kWhyNoCudaLibrary = device::load_cuda_library();

inline constexpr std::array kDataTypes = {at::kFloat, at::kBFloat16};

// Relative rounding error of `dtype`.
inline double unit_roundoff(at::ScalarType dtype) {
  if (dtype == at::kDouble) return 0x1p-53;
  return dtype == at::kFloat ? 0x1p-24 : 0x1p-8;
}

// Checks that actual equals expected, rounded once to actual's dtype, up to `roundings` intermediate fp32
// roundings relative to `magnitudes` (of the largest intermediate results; |expected| where that is larger or
// they are undefined). Where expected is NaN or infinite, actual must be identical.
//   actual: on any device.  expected, magnitudes: of its shape, on the CPU, fp64 or fp32.
inline testing::AssertionResult compare(const at::Tensor& actual, const at::Tensor& expected,
                                        double roundings, const at::Tensor& magnitudes = {}) {
  if (actual.sizes() != expected.sizes()) return testing::AssertionFailure() << "shapes differ";
  const auto fp64 = [](const at::Tensor& x) {
    return x.detach().cpu().to(at::kDouble).contiguous();
  };
  const at::Tensor actual64 = fp64(actual);
  const at::Tensor expected64 = fp64(expected);
  const at::Tensor magnitudes64 = fp64(magnitudes.defined() ? magnitudes : expected);
  if (magnitudes64.sizes() != expected.sizes()) return testing::AssertionFailure() << "shapes differ";
  const double epsilon = unit_roundoff(actual.scalar_type());
  constexpr double kSmallest = 1e-37;  // below it, fp32 and bf16 lose digits
  for (int64_t i = 0; i < actual.numel(); ++i) {
    const double a = actual64.const_data_ptr<double>()[i];
    const double e = expected64.const_data_ptr<double>()[i];
    const double magnitude = std::max(std::abs(e), std::abs(magnitudes64.const_data_ptr<double>()[i]));
    const double tolerance = epsilon * std::abs(e) + roundings * 0x1p-24 * magnitude + kSmallest;
    const bool same =
        std::isfinite(e) ? std::abs(a - e) <= tolerance : a == e || (std::isnan(a) && std::isnan(e));
    if (!same) {
      return testing::AssertionFailure() << "element " << i << " of " << actual.numel() << " is " << a
                                         << ", expected " << e << " within " << tolerance;
    }
  }
  return testing::AssertionSuccess();
}
// Likewise, with one magnitude for all elements.
inline testing::AssertionResult compare(const at::Tensor& actual, const at::Tensor& expected,
                                        double roundings, double magnitude) {
  return compare(actual, expected, roundings, at::full_like(expected, magnitude));
}

// Skips if there is no GPU. The current stream is not the default stream, which synchronises with others:
// this exposes work that is queued on a wrong stream.
class OnGpu : public testing::Test {
 protected:
  void SetUp() override {
    if (device::has_nvidia_driver()) {
      ASSERT_EQ(kWhyNoCudaLibrary, "");
    }
    if (c10::cuda::device_count() == 0) GTEST_SKIP() << "This machine has no GPU that CUDA can use.";
    at::globalContext().lazyInitDevice(at::kCUDA);  // ATen's allocator answers no questions before
    stream_.emplace(c10::cuda::getStreamFromPool());
  }

  static at::Device device() { return {at::kCUDA, c10::cuda::current_device()}; }

  // On the CPU, the same in every run: normally distributed numbers, rounded to `dtype`, as fp32 ...
  at::Tensor normal(at::IntArrayRef shape, double deviation = 1.0, at::ScalarType dtype = at::kFloat) {
    return at::randn(shape, generator_, at::kFloat).mul_(deviation).to(dtype).to(at::kFloat);
  }
  // ... and int64 in [0, below).
  at::Tensor integers(at::IntArrayRef shape, int64_t below) {
    return at::randint(below, shape, generator_, at::kLong);
  }
  static at::Tensor on_gpu(const at::Tensor& x) { return x.to(device()); }
  static at::Tensor on_gpu(const at::Tensor& x, at::ScalarType dtype) { return x.to(device(), dtype); }

 private:
  at::Generator generator_ = at::detail::createCPUGenerator(7);
  std::optional<c10::cuda::CUDAStreamGuard> stream_;
};

}  // namespace ssgpt::kernels
