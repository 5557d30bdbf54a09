#include "kernels/support.h"

#include "core/random.h"

#include <algorithm>
#include <cmath>

#include <ATen/ops/empty.h>

namespace ssgpt::kernels {

std::vector<Variant> all_variants() {
  std::vector<Variant> variants;
  for (const cpu::Table* table : cpu::available_tables()) {
    variants.push_back({table, at::kFloat});
    variants.push_back({table, at::kBFloat16});
  }
  return variants;
}

std::string variant_name(const testing::TestParamInfo<Variant>& info) {
  return std::string(info.param.table->name) + (info.param.dtype == at::kFloat ? "_fp32" : "_bf16");
}

at::Tensor OpTest::fp32(at::IntArrayRef shape, double scale) {
  const at::Tensor x = at::empty(shape, at::kFloat);
  const uint64_t key = core::stream_key(next_seed_++, "test");
  for (int64_t i = 0; i < x.numel(); ++i) {
    x.mutable_data_ptr<float>()[i] =
        static_cast<float>(scale * core::random_normal(key, static_cast<uint64_t>(i)));
  }
  return x;
}

at::Tensor OpTest::data(at::IntArrayRef shape, double scale) {
  return fp32(shape, scale).to(dtype());
}

at::Tensor fp64(const at::Tensor& x) {
  return x.to(at::kDouble).clone();
}
at::Tensor leaf(const at::Tensor& x) {
  return fp64(x).requires_grad_();
}

testing::AssertionResult is_close(const at::Tensor& actual, const at::Tensor& expected, double relative,
                                  double absolute) {
  if (actual.sizes() != expected.sizes()) return testing::AssertionFailure() << "shapes differ";
  const at::Tensor a = fp64(actual.detach()).contiguous();
  const at::Tensor e = fp64(expected.detach()).contiguous();
  const double* a_data = a.const_data_ptr<double>();
  const double* e_data = e.const_data_ptr<double>();
  double largest = 0.0;
  for (int64_t i = 0; i < e.numel(); ++i) largest = std::max(largest, std::abs(e_data[i]));
  for (int64_t i = 0; i < e.numel(); ++i) {
    const double error = std::abs(a_data[i] - e_data[i]);
    // Written so that a NaN on either side fails.
    if (!(error <= relative * std::abs(e_data[i]) + absolute * largest)) {
      return testing::AssertionFailure()
             << "element " << i << " of " << e.numel() << " is " << a_data[i] << ", expected " << e_data[i]
             << " (error " << error << ", largest " << largest << ")";
    }
  }
  return testing::AssertionSuccess();
}

}  // namespace ssgpt::kernels
