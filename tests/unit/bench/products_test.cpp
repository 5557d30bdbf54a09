// All sides of what ssgpt bench products times compute the same; and what it derives from their times.
#include "bench/kernels.h"
#include "bench/product_sides.h"
#include "bench/products_text.h"
#include "bench/rows.h"
#include "bench/small_shape.h"
#include "core/error.h"

#include <cmath>
#include <stdexcept>
#include <string>
#include <vector>

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/zeros.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

namespace ssgpt::bench {
namespace {

using testing::HasSubstr;

TEST(ProductCases, AreThoseOfAStep) {
  const std::vector<ProductCase> cases = product_cases(kSmallShape, {});
  ASSERT_EQ(cases.size(), 15u);
  double flops = 0.0;
  for (const ProductCase& product : cases) flops += product.flops();
  // Forward and both gradients: 2 operations for each weight and row. The head's rows are all in one chunk.
  const double weights = 32 * 96 + 32 * 32 + 32 * 80 + 40 * 32 + 32 * 96;
  EXPECT_DOUBLE_EQ(flops, 3 * 2.0 * 48 * weights);
  EXPECT_EQ(cases.front().name, "qkv GEMM/small");
  EXPECT_EQ(cases.back().name, "logits weight gradient/small");
  EXPECT_TRUE(cases.back().accumulates && cases.back().a_transposed);
  EXPECT_EQ(cases.front().calls, 3);  // layers
  EXPECT_EQ(cases.back().calls, 1);
}

TEST(ProductCases, AllSidesGiveTheSame) {
  for (const ProductCase& product : product_cases(kSmallShape, {})) {
    std::vector<ProductRun> runs = product_runs(product, {});
    std::vector<std::string> names;
    for (const ProductRun& run : runs) names.push_back(run.name);
    EXPECT_EQ(names, product_side_names(at::kCPU));
    EXPECT_EQ(names.front(), "ours");
    const at::Tensor ours = runs[0].call().clone();
    EXPECT_EQ(ours.sizes(), (std::vector<int64_t>{product.m, product.n})) << product.name;
    const double largest = ours.abs().max().item<double>();
    EXPECT_GT(largest, 0.0);
    // At most 96 terms of 0.01, in another order: a hundred roundings of fp32.
    for (size_t side = 1; side < runs.size(); ++side) {
      EXPECT_LT((ours - runs[side].call()).abs().max().item<double>(), 1e-5 * largest)
          << names[side] << ", " << product.name;
    }
    // A second call adds where the first one is to be added to, and else writes the same.
    const at::Tensor again = runs[0].call();
    const double factor = product.accumulates ? 2.0 : 1.0;
    EXPECT_LT((again - factor * ours).abs().max().item<double>(), 1e-5 * largest) << product.name;
  }
}

TEST(MeasureProducts, TakesTurnsOnOneThreadAndOnAll) {
  const int threads = at::get_num_threads();
  std::vector<std::string> told;
  const ProductReport report = measure_products(
      {.execution = {}, .filter = "^qkv (GEMM|weight gradient)/quickstart$", .min_seconds = 0.01},
      [&](const ProductReport& begun) {
        EXPECT_TRUE(begun.results.empty());
        told.push_back(heading(begun));
      },
      [&](const ProductReport& so_far, const ProductResult& result) {
        EXPECT_EQ(&so_far.results.back(), &result);
        told.push_back(to_row(so_far, result));
      });
  EXPECT_EQ(at::get_num_threads(), threads);
  const std::vector<int> expected = threads > 1 ? std::vector<int>{1, threads} : std::vector<int>{1};
  ASSERT_EQ(report.results.size(), 2 * expected.size());
  ASSERT_EQ(told.size(), 1 + report.results.size());
  for (size_t i = 0; i < report.results.size(); ++i) {
    const ProductResult& result = report.results[i];
    EXPECT_EQ(result.threads, expected[i % expected.size()]);
    ASSERT_EQ(result.sides.size(), product_side_names(at::kCPU).size());
    for (const ProductSide& side : result.sides) {
      EXPECT_EQ(side.seconds.size(), 8u);
      EXPECT_THAT(side.seconds, testing::Each(testing::Gt(0.0)));
      EXPECT_EQ(side.error, "");
    }
    EXPECT_THAT(told[i + 1], HasSubstr(result.product.name));
  }
}

TEST(MeasureProducts, SaysWhatIsWrongWithAFilter) {
  const auto nothing = [](const auto&...) {
  };
  EXPECT_THROW(measure_products({.execution = {}, .filter = "no such GEMM"}, nothing, nothing),
               core::UsageError);
  EXPECT_THROW(measure_products({.execution = {}, .filter = "("}, nothing, nothing), core::UsageError);
}

// 2 GFLOP in 1 ms by ours, in 2 ms by the second side and on a CPU in 1.5 ms by the third.
ProductReport made_up_products(at::Device device) {
  ProductReport report{.execution = {.device = device},
                       .threads = 3,
                       .sides = {"ours", "MKL", "oneDNN"},
                       .library = "MKL",
                       .device = "a device",
                       .results = {}};
  ProductResult result{.product = {.shape = "x", .name = "qkv GEMM/x", .m = 1000, .n = 1000, .k = 1000},
                       .threads = 3,
                       .sides = {}};
  result.sides.push_back({.name = "ours", .seconds = {1e-3, 1e-3}, .detail = {}, .error = {}});
  if (!device.is_cpu()) {
    report.sides = {"ours", "best of 16", "MKL"};
    result.sides.push_back(
        {.name = "best of 16", .seconds = {}, .detail = "number 3 of 16", .error = "no memory"});
  }
  result.sides.push_back({.name = "MKL", .seconds = {2e-3, 2e-3}, .detail = {}, .error = {}});
  if (device.is_cpu()) {
    result.sides.push_back({.name = "oneDNN", .seconds = {1.5e-3, 1.5e-3}, .detail = {}, .error = {}});
  }
  report.results.push_back(result);
  return report;
}

TEST(MeasureProducts, RowsHaveSpeedsAndTheRatiosOfTheTimes) {
  const ProductReport report = made_up_products(at::kCPU);
  const std::string row = to_row(report, report.results[0]);
  for (const char* part : {"qkv GEMM/x", "1000 x 1000 x 1000", " 3 ", "2000.0", "1000.0", "1333.3",
                           "2.000 (2.000-2.000)", "1.500 (1.500-1.500)"}) {
    EXPECT_THAT(row, HasSubstr(part));
  }
  EXPECT_THAT(heading(report),
              testing::AllOf(HasSubstr("a device"), HasSubstr("GFLOP/s"), HasSubstr("MKL / ours, 95 %"),
                             HasSubstr("oneDNN / ours, 95 %")));
  const auto json = nlohmann::json::parse(to_json(report));
  const auto& sides = json["products"][0]["sides"];
  EXPECT_DOUBLE_EQ(sides[1]["flops_per_second"], 1e12);
  EXPECT_DOUBLE_EQ(sides[1]["time_over_ours"]["ratio"], 2.0);
  EXPECT_DOUBLE_EQ(sides[2]["time_over_ours"]["ratio"], 1.5);
  EXPECT_FALSE(sides[0].contains("time_over_ours"));
}

// A terminal of 140 columns has the longest of the names and the sizes in a line.
TEST(MeasureProducts, RowsFitIntoALineOf140Columns) {
  ProductReport report = made_up_products(at::kCPU);
  for (const KernelShape& shape : kernel_shapes(at::kCPU)) {
    for (const ProductCase& product : product_cases(shape, {})) {
      report.results[0].product = product;
      for (ProductSide& side : report.results[0].sides) side.seconds.assign(2, product.flops() / 9.9e12);
      EXPECT_LE(to_row(report, report.results[0]).size(), 141u) << product.name;  // and the line break
    }
  }
  const std::string text = heading(report);
  const size_t rule = text.rfind('\n', text.size() - 2);
  EXPECT_LE(text.size() - rule - 2, 140u);
}

TEST(MeasureProducts, TotalsCountEveryCallOfAMicroBatch) {
  const auto first_lines = [](const ProductReport& report) {
    const std::string text = totals(report);
    return text.substr(0, text.find("x on "));
  };
  ProductReport report = made_up_products(at::kCPU);
  report.results[0].product.calls = 12;
  report.results.push_back(report.results[0]);
  report.results[1].product.calls = 1;
  EXPECT_EQ(first_lines(report),
            "a micro-batch of x, 2 GEMMs: ours 13.00 ms, MKL 26.00 ms, oneDNN 19.50 ms\n");
  report.results.push_back(report.results[0]);  // on fewer threads
  report.results[2].threads = 1;
  report.results.push_back(report.results[0]);
  report.results[3].product.shape = "y";
  EXPECT_EQ(first_lines(report),
            "a micro-batch of x, 2 GEMMs: ours 13.00 ms, MKL 26.00 ms, oneDNN 19.50 ms\n"
            "a micro-batch of y, 1 GEMM: ours 12.00 ms, MKL 24.00 ms, oneDNN 18.00 ms\n");
  // A side that failed once has no sum.
  EXPECT_EQ(totals(made_up_products(at::Device(at::kCUDA, 0))),
            "a micro-batch of x, 1 GEMM: ours 1.00 ms, MKL 2.00 ms\n");
}

TEST(MeasureProducts, StandingsAreAgainstTheFastestOfTheOthers) {
  ProductReport report = made_up_products(at::kCPU);
  ProductResult down = report.results[0];
  down.product.name = "down GEMM/x";
  down.sides[1].seconds = {0.6e-3, 0.6e-3};  // the fastest here
  report.results.push_back(down);
  ProductResult alone = down;
  alone.threads = 1;
  alone.sides[1].error = "it broke";
  alone.sides[1].seconds.clear();
  report.results.push_back(alone);
  ProductResult failed = alone;  // ours has no time: no ratio
  failed.sides[0] = {.name = "ours", .seconds = {}, .detail = {}, .error = "it broke"};
  report.results.push_back(failed);

  const std::vector<Standing> found = standings(report);
  ASSERT_EQ(found.size(), 2u);
  EXPECT_EQ(found[0].shape, "x");
  EXPECT_EQ(found[0].threads, 3);
  EXPECT_EQ(found[0].products, 2);
  EXPECT_NEAR(found[0].mean, std::sqrt(1.5 * 0.6), 1e-12);
  EXPECT_NEAR(found[0].least, 0.6, 1e-12);
  EXPECT_EQ(found[0].least_product, "down GEMM/x");
  EXPECT_EQ(found[1].threads, 1);
  EXPECT_EQ(found[1].products, 1);
  EXPECT_NEAR(found[1].mean, 1.5, 1e-12);
  EXPECT_THAT(
      totals(report),
      HasSubstr("\nx on 3 threads, 2 GEMMs: fastest other side / ours 0.949 in the geometric mean, at "
                "least 0.600 (down GEMM/x)\nx on 1 thread, 1 GEMM: "));
  const auto json = nlohmann::json::parse(to_json(report));
  EXPECT_EQ(json["fastest_other_over_ours"].size(), 2u);
  EXPECT_EQ(json["fastest_other_over_ours"][0]["least_product"], "down GEMM/x");
  EXPECT_TRUE(standings(made_up_products(at::Device(at::kCUDA, 0))).empty());
}

TEST(MeasureProducts, ASideThatFailedIsMarkedAndSaysWhy) {
  const ProductReport report = made_up_products(at::Device(at::kCUDA, 0));
  const std::string row = to_row(report, report.results[0]);
  EXPECT_THAT(row, testing::AllOf(HasSubstr("failed"), HasSubstr("2.0"), HasSubstr("best of 16: no memory"),
                                  HasSubstr("number 3 of 16")));
  const auto json = nlohmann::json::parse(to_json(report));
  EXPECT_EQ(json["products"][0]["sides"][1]["error"], "no memory");
  EXPECT_FALSE(json["products"][0]["sides"][1].contains("flops_per_second"));
}

TEST(MeasureKernels, ASideThatThrowsIsMarkedAndTheOtherMeasured) {
  const KernelOptions options = {.execution = {}, .filter = ".", .min_seconds = 0.001};
  int calls = 0;
  // The third call throws: after what comes before the timing.
  const KernelResult plain = measure_kernel(
      "x",
      [&] {
        return KernelRun{.work = {.flops = 0.0, .bytes = 1.0},
                         .fused = [] { return at::zeros({1000}); },
                         .plain = [&calls]() -> at::Tensor {
                           if (++calls > 2) throw std::runtime_error("it broke\nat a line");
                           return at::zeros({1000});
                         }};
      },
      options);
  EXPECT_GT(plain.fused_seconds, 0.0);
  EXPECT_EQ(plain.fused_error, "");
  EXPECT_EQ(plain.plain_error, "it broke");
  const KernelResult both = measure_kernel(
      "y", []() -> KernelRun { throw std::runtime_error("no memory"); }, options);
  EXPECT_EQ(both.fused_error, "no memory");
  EXPECT_EQ(both.plain_error, "no memory");
  const KernelReport report{.execution = {},
                            .threads = 1,
                            .ceilings = {.product_flops = 1.0, .copy_bytes = 1.0},
                            .results = {plain, both}};
  EXPECT_THAT(to_table(report), testing::AllOf(HasSubstr("failed"), HasSubstr("plain: it broke"),
                                               HasSubstr("fused: no memory")));
  const auto json = nlohmann::json::parse(to_json(report));
  EXPECT_TRUE(json["operations"][0].contains("fused_seconds"));
  EXPECT_EQ(json["operations"][0]["plain_error"], "it broke");
  EXPECT_FALSE(json["operations"][1].contains("fused_seconds"));
}

TEST(RowFormat, ColumnsStandBelowEachOther) {
  const RowFormat format({{.title = "name", .width = 6, .left = true},
                          {.title = "µs", .width = 5},
                          {.title = "why", .left = true}});
  EXPECT_EQ(format.heading(), "  name       µs  why\n  ------------------\n");
  EXPECT_EQ(format.row({"a", "1.5", "so"}), "  a         1.5  so\n");
  EXPECT_EQ(format.row({"a"}), "  a\n");
  EXPECT_EQ(format.row({"a name", "1", "a long reason"}), "  a name      1  a long reason\n");
}

}  // namespace
}  // namespace ssgpt::bench
