// The product that is asked of oneDNN against one in float64.
#include "bench/onednn.h"

#include "bench/product_sides.h"

#include <string>
#include <vector>

#include <ATen/Context.h>
#include <ATen/TensorOperators.h>
#include <ATen/Version.h>
#include <ATen/ops/abs.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/randn.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace ssgpt::bench {
namespace {

struct Layout {
  const char* name;
  bool a_transposed, b_transposed;
};

class Onednn : public testing::TestWithParam<Layout> {};

// In every layout, writing and adding, in sizes that are no multiples of vectors and tiles, and in such that
// oneDNN has another kernel for.
TEST_P(Onednn, MultipliesInFloat32) {
  if (!has_onednn()) GTEST_SKIP() << "not on this processor";
  const Layout& layout = GetParam();
  struct Size {
    int64_t m, n, k;
  };
  for (const auto& [m, n, k] : {Size{1, 1, 1}, Size{70, 90, 110}, Size{256, 192, 128}, Size{33, 515, 258}}) {
    const at::Tensor a = layout.a_transposed ? at::randn({k, m}).t() : at::randn({m, k});
    const at::Tensor b = layout.b_transposed ? at::randn({n, k}).t() : at::randn({k, n});
    const at::Tensor before = at::randn({m, n});
    for (const bool accumulates : {false, true}) {
      const at::Tensor out = before.clone();
      onednn_product(a, b, accumulates, out);
      at::Tensor expected = at::mm(a.to(at::kDouble), b.to(at::kDouble));
      at::Tensor magnitude = at::mm(a.abs().to(at::kDouble), b.abs().to(at::kDouble));
      if (accumulates) {
        expected += before;
        magnitude += before.abs();
      }
      // k + 1 roundings of fp32 in any order, to first order (Higham, Accuracy and Stability, section 3.5).
      // With operands in bfloat16 or TF32 the error would be beyond it: 2^-9 and 2^-11 of the terms.
      const double roundings = static_cast<double>(k + 1) * 0x1p-24;
      const at::Tensor excess = (out.to(at::kDouble) - expected).abs() - roundings * magnitude;
      EXPECT_LE(excess.max().item<double>(), 0.0)
          << m << " x " << n << " x " << k << ", adding: " << accumulates;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Layouts, Onednn,
                         testing::Values(Layout{"plain", false, false}, Layout{"b_transposed", false, true},
                                         Layout{"a_transposed", true, false}),
                         [](const auto& tested) { return tested.param.name; });

TEST(ProductSides, HaveOnednnWhereLibTorchHasIt) {
  const std::vector<std::string> names = product_side_names(at::kCPU);
  EXPECT_EQ(names.front(), "ours");
  EXPECT_EQ(names[1], at::hasMKL() ? "MKL" : "ATen");
  EXPECT_EQ(names.size() == 3 && names[2] == "oneDNN", has_onednn());
  if (at::hasMKLDNN() && at::get_cpu_capability().starts_with("AVX512")) {
    EXPECT_TRUE(has_onednn());
  }
}

}  // namespace
}  // namespace ssgpt::bench
