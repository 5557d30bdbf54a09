// Both sides of what ssgpt bench kernels times compute the same.
#include "bench/kernel_cases.h"

#include "bench/kernels.h"
#include "bench/small_shape.h"
#include "core/error.h"

#include <string>

#include <ATen/TensorOperators.h>
#include <ATen/ops/allclose.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

namespace ssgpt::bench {
namespace {

class KernelCases : public ::testing::TestWithParam<KernelCase> {};

TEST_P(KernelCases, FusedAndPlainGiveTheSame) {
  const KernelRun run = GetParam().prepare(kSmallShape, {});
  const at::Tensor plain = run.plain().to(at::kDouble);  // first, for the fused side may work in place
  const at::Tensor fused = run.fused().to(at::kDouble);
  ASSERT_EQ(fused.numel(), plain.numel());
  // Values are of the order of one and sums have up to 100 terms, in another order: 1e-5 is a hundred
  // roundings. The sum of 5,000 squares is near 50, for which the relative part counts.
  EXPECT_TRUE(at::allclose(fused.flatten(), plain.flatten(), /*rtol=*/1e-5, /*atol=*/1e-5));
  EXPECT_GT(run.work.flops + run.work.bytes, 0.0);
}

TEST_P(KernelCases, RunInBfloat16WhereTheCpuHasThem) {
  const model::Execution bfloat16 = {.device = at::kCPU, .dtype = at::kBFloat16};
  if (!can_run(GetParam(), bfloat16)) {
    EXPECT_THAT(GetParam().name, ::testing::StartsWith("matrix_product"));
    return;
  }
  const KernelRun run = GetParam().prepare(kSmallShape, bfloat16);
  const at::Tensor plain = run.plain().to(at::kDouble);
  const at::Tensor fused = run.fused().to(at::kDouble);
  ASSERT_EQ(fused.numel(), plain.numel());
  // bf16 has 8 bits, and the plain side rounds between its operations too: a few steps of 2^-8 of the largest
  // value.
  const double largest = plain.abs().max().item<double>();
  EXPECT_GT(largest, 0.0);
  EXPECT_LE((fused.flatten() - plain.flatten()).abs().max().item<double>(), 0.02 * largest);
}

INSTANTIATE_TEST_SUITE_P(All, KernelCases, ::testing::ValuesIn(kernel_cases()),
                         [](const auto& one) { return one.param.name; });

TEST(MeasureKernels, TimesWhatTheFilterNames) {
  const KernelReport report = measure_kernels(
      {.execution = {}, .filter = "^swiglu_(forward|backward)/quickstart$", .min_seconds = 0.001});
  ASSERT_EQ(report.results.size(), 2u);
  EXPECT_EQ(report.results[0].name, "swiglu_forward/quickstart");
  EXPECT_EQ(report.results[1].name, "swiglu_backward/quickstart");
  for (const KernelResult& result : report.results) {
    EXPECT_GT(result.fused_seconds, 0.0);
    EXPECT_GT(result.plain_seconds, 0.0);
  }
  EXPECT_GT(report.ceilings.product_flops, 0.0);
  EXPECT_GT(report.ceilings.copy_bytes, 0.0);
}

// 1 GFLOP in 1 ms and 1 GB in 1 ms, on a machine that could do both twice as fast.
KernelReport made_up(at::Device device) {
  return {.execution = {.device = device},
          .threads = 3,
          .ceilings = {.product_flops = 2e12, .copy_bytes = 2e12},
          .results = {{.name = "product",
                       .work = {.flops = 1e9, .bytes = 1.0},
                       .fused_seconds = 1e-3,
                       .plain_seconds = 2e-3},
                      {.name = "copy",
                       .work = {.flops = 0.0, .bytes = 1e9},
                       .fused_seconds = 1e-3,
                       .plain_seconds = 0.5e-3}}};
}

TEST(MeasureKernels, UnitsSuitTheDevice) {
  const std::string cpu = to_table(made_up(at::kCPU));
  for (const char* part : {"float32, 3 threads", "fused ms", "1.000", "1000.0 GFLOP/s", "1000.0 GB/s",
                           "50 % GEMM", "50 % copy", "2.00", "0.50"}) {
    EXPECT_THAT(cpu, ::testing::HasSubstr(part));
  }
  const std::string gpu = to_table(made_up(at::Device(at::kCUDA, 0)));
  for (const char* part : {"GPU", "fused \u00b5s", "1000.0", "1.0 TFLOP/s", "1000.0 GB/s", "50 % GEMM",
                           "50 % copy", "2.00", "0.50"}) {
    EXPECT_THAT(gpu, ::testing::HasSubstr(part));
  }
  KernelReport report = made_up(at::Device(at::kCUDA, 0));
  report.results[1].name = "copy \xFF";  // no UTF-8: JSON holds what stands for it
  const auto json = nlohmann::json::parse(to_json(report));
  EXPECT_EQ(json["operations"][1]["name"], "copy \uFFFD");
  EXPECT_EQ(json["device"], "cuda");
  EXPECT_EQ(json["ceilings"]["copy_bytes_per_second"], 2e12);
  EXPECT_EQ(json["operations"][1]["plain_seconds"], 0.5e-3);
}

TEST(MeasureKernels, SaysWhatIsWrongWithAFilter) {
  EXPECT_THROW(measure_kernels({.execution = {}, .filter = "no such operation"}), core::UsageError);
  EXPECT_THROW(measure_kernels({.execution = {}, .filter = "("}), core::UsageError);
}

}  // namespace
}  // namespace ssgpt::bench
