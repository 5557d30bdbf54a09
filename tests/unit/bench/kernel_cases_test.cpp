// What ssgpt bench kernels times is the same on both sides.
#include "bench/kernel_cases.h"

#include "bench/kernels.h"
#include "core/error.h"

#include <ATen/ops/allclose.h>
#include <gtest/gtest.h>

namespace ssgpt::bench {
namespace {

const KernelShape kSmall = {
    .name = "small", .batch = 2, .time = 24, .hidden = 32, .heads = 2, .ff = 40, .vocab = 96, .flat = 5000};

class KernelCases : public ::testing::TestWithParam<KernelCase> {};

TEST_P(KernelCases, FusedAndPlainGiveTheSame) {
  const KernelRun run = GetParam().prepare(kSmall);
  const at::Tensor plain = run.plain().to(at::kDouble);  // first, for the fused side may work in place
  const at::Tensor fused = run.fused().to(at::kDouble);
  ASSERT_EQ(fused.numel(), plain.numel());
  // Values are of the order of one and sums have up to 100 terms, in another order: 1e-5 is a hundred
  // roundings. The sum of 5,000 squares is near 50, for which the relative part counts.
  EXPECT_TRUE(at::allclose(fused.flatten(), plain.flatten(), /*rtol=*/1e-5, /*atol=*/1e-5));
  EXPECT_GT(run.work.flops + run.work.bytes, 0.0);
}

INSTANTIATE_TEST_SUITE_P(All, KernelCases, ::testing::ValuesIn(kernel_cases()),
                         [](const auto& one) { return one.param.name; });

TEST(MeasureKernels, TimesWhatTheFilterNames) {
  const auto results =
      measure_kernels({.filter = "^swiglu_(forward|backward)/quickstart$", .min_seconds = 0.001});
  ASSERT_EQ(results.size(), 2u);
  EXPECT_EQ(results[0].name, "swiglu_forward/quickstart");
  EXPECT_EQ(results[1].name, "swiglu_backward/quickstart");
  for (const KernelResult& result : results) {
    EXPECT_GT(result.fused_seconds, 0.0);
    EXPECT_GT(result.plain_seconds, 0.0);
  }
}

TEST(MeasureKernels, SaysWhatIsWrongWithAFilter) {
  EXPECT_THROW(measure_kernels({.filter = "no such operation"}), core::UsageError);
  EXPECT_THROW(measure_kernels({.filter = "("}), core::UsageError);
}

}  // namespace
}  // namespace ssgpt::bench
