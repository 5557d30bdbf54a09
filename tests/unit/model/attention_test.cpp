// The purpose of Scalable-Softmax (arXiv 2501.19399, Figures 1 and 3), through the program's own attention;
// and positions.

#include "model/attention.h"

#include "model/positions.h"
#include "model/rope.h"

#include <algorithm>
#include <cmath>

#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/eye.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

namespace ssgpt::model {
namespace {

// The attention that the last of n queries pays to the last key, where the keys score z[0], ..., z[n - 1]:
// one head of dimension 4 without rotation, whose input (z, 1, is last, 0) is projected to q = (2, 0, 0, 0),
// so that q k / sqrt(4) is z, k = (z, 0, 0, 0) and v = (is last, 0, 0, 0).
double weight_of_last(const std::vector<double>& z, const kernels::RowScale& row_scale) {
  const int64_t n = static_cast<int64_t>(z.size());
  const at::Tensor x = at::zeros({n, 4}, at::kFloat);
  for (int64_t i = 0; i < n; ++i) x[i][0].fill_(z[static_cast<size_t>(i)]);
  x.select(1, 1).fill_(1.0);
  x[n - 1][2].fill_(1.0);
  AttentionWeights weights = {at::zeros({12, 4}, at::kFloat), at::eye(4, at::kFloat), row_scale};
  weights.qkv[0][1].fill_(2.0);
  weights.qkv[4][0].fill_(1.0);
  weights.qkv[8][2].fill_(1.0);
  const AttentionContext context = {.batch = 1,
                                    .time = n,
                                    .num_heads = 1,
                                    .rotation = make_rotation(n, 0, 10000.0, at::kCPU),
                                    .spans = {.num_keys = count_keys(1, n), .starts = {}}};
  AttentionActivations activations = {.qkv = at::zeros({n, 12}, at::kFloat),
                                      .result = {.out = at::zeros({1, n, 1, 4}, at::kFloat),
                                                 .logsumexp = at::zeros({1, 1, n}, at::kFloat),
                                                 .extra = {}}};
  AttentionScratch scratch;
  scratch.workspace = at::zeros({kernels::attention_workspace(at::kCPU, n, 4)}, at::kFloat);
  const at::Tensor out = at::zeros({n, 4}, at::kFloat);
  attention_forward(x, weights, context, activations, scratch, out);
  return out[n - 1][0].item<double>();
}

kernels::RowScale ssmax(double s) {
  return {make_position_table(config::AttentionKind::kSsmax, {}, 4096, at::kCPU),
          at::zeros({1}, at::kFloat) + s,
          {}};
}

// Scores and exponentials are fp32: a score of 25 is known to 2e-6, and so is the logarithm of a weight.
constexpr double kTolerance = 1e-5;

TEST(ScalableSoftmax, LargestOutputFadesWithSoftmaxAndStaysWithSsmax) {
  const double s = 0.43;  // as in Figure 1
  double last_softmax = 1.0;
  double last_ssmax = 0.0;
  for (const int64_t n : {2, 8, 64, 512, 4096}) {
    std::vector<double> z(static_cast<size_t>(n), -2.0);
    z.back() = 3.0;
    const double size = static_cast<double>(n);
    const double softmax = weight_of_last(z, {});
    EXPECT_NEAR(softmax, 1.0 / (1.0 + (size - 1.0) * std::exp(-5.0)), kTolerance);
    EXPECT_LT(softmax, last_softmax);
    last_softmax = softmax;
    const double scalable = weight_of_last(z, ssmax(s));
    EXPECT_NEAR(scalable, 1.0 / (1.0 + (size - 1.0) * std::pow(size, -5.0 * s)), kTolerance);
    EXPECT_GT(scalable, last_ssmax);
    last_ssmax = scalable;
  }
  EXPECT_LT(last_softmax, 0.05);
  EXPECT_GT(last_ssmax, 0.99);
}

TEST(ScalableSoftmax, FocusesOnceALeadExceedsTheInverseOfSWhateverN) {
  const double s = 0.43;
  for (const int64_t n : {100, 1000, 4096}) {
    SCOPED_TRACE(n);
    std::vector<double> z(static_cast<size_t>(n), 1.0);
    const auto with_lead = [&](double lead, const kernels::RowScale& row_scale) {
      z.back() = 1.0 + lead;
      return weight_of_last(z, row_scale);
    };
    // n^(s lead) against n - 1: even at a lead of 1/s.
    EXPECT_NEAR(with_lead(1.0 / s, ssmax(s)), 0.5, 0.5 / static_cast<double>(n) + kTolerance);
    EXPECT_GT(with_lead(1.5 / s, ssmax(s)), 0.9);
    EXPECT_LT(with_lead(0.5 / s, ssmax(s)), 0.1);
    // With the others spread over [0, 1], as in Figure 3, a lead of 1/s over the largest is more than enough.
    for (int64_t i = 0; i + 1 < n; ++i)
      z[static_cast<size_t>(i)] = static_cast<double>(i) / static_cast<double>(n - 2);
    EXPECT_GT(with_lead(1.0 / s, ssmax(s)), 0.5);
  }
  // Softmax at the same lead focuses on short inputs alone.
  std::vector<double> z(4096, 1.0);
  z.back() = 1.0 + 1.5 / s;
  EXPECT_LT(weight_of_last(z, {}), 0.01);
}

TEST(CountKeys, StartsAtTheWindow) {
  const at::Tensor num_keys = count_keys(2, 3);
  for (int64_t b = 0; b < 2; ++b) {
    for (int64_t t = 0; t < 3; ++t) EXPECT_EQ(num_keys[b][t].item<int>(), t + 1);
  }
}

TEST(CountKeys, RestartBehindTheTokenThatEndsADocument) {
  const std::vector<std::vector<int64_t>> rows = {{5, 9, 5, 5, 9}, {9, 9, 1, 2, 3}};
  const std::vector<std::vector<int>> expected = {{1, 2, 1, 2, 3}, {1, 1, 1, 2, 3}};
  const at::Tensor tokens = at::zeros({2, 5}, at::kLong);
  for (int64_t i = 0; i < 10; ++i) {
    tokens[i / 5][i % 5].fill_(rows[static_cast<size_t>(i / 5)][static_cast<size_t>(i % 5)]);
  }
  const at::Tensor num_keys = count_keys_within_documents(tokens, 9);
  for (int64_t i = 0; i < 10; ++i) {
    EXPECT_EQ(num_keys[i / 5][i % 5].item<int>(),
              expected[static_cast<size_t>(i / 5)][static_cast<size_t>(i % 5)]);
  }
}

TEST(SpanStarts, AreTheRowsWhereCountingBeginsAnew) {
  const at::Tensor num_keys = at::empty({2, 5}, at::kInt);
  const std::vector<int> n = {1, 2, 1, 2, 3, 1, 1, 1, 2, 3};
  std::copy(n.begin(), n.end(), num_keys.mutable_data_ptr<int>());
  const at::Tensor starts = span_starts(num_keys);
  const std::vector<int> expected = {0, 2, 5, 6, 7};
  for (size_t i = 0; i < expected.size(); ++i) {
    EXPECT_EQ(starts[static_cast<int64_t>(i)].item<int>(), expected[i]);
  }
  // Empty spans behind them: the size is the same whatever the number of documents, up to a point.
  EXPECT_EQ(starts.narrow(0, 5, starts.numel() - 5).eq(10).sum().item<int64_t>(), starts.numel() - 5);
  EXPECT_GT(starts.numel(), 5);
  EXPECT_EQ(starts.numel(), span_starts(count_keys(3, 7)).numel());
  EXPECT_EQ(longest_span(num_keys), 3);
  // More spans than fit the first size; the last number is always that of the rows.
  const at::Tensor ones = at::ones({1000, 1}, at::kInt);
  EXPECT_GT(span_starts(ones).numel(), 1000);
  EXPECT_EQ(span_starts(ones)[-1].item<int>(), 1000);
  EXPECT_EQ(span_starts(ones)[999].item<int>(), 999);
}

TEST(Rotation, HoldsTheAnglesOfLlama) {
  const kernels::Rotation rope = make_rotation(2048, 8, 10000.0, at::kCPU);
  for (const int64_t t : {0, 1, 2047}) {
    for (int64_t i = 0; i < 4; ++i) {
      const double angle = static_cast<double>(t) / std::pow(10000.0, static_cast<double>(i) / 4.0);
      EXPECT_NEAR(rope.cos[t][i].item<double>(), std::cos(angle), 1e-7);  // one rounding to fp32
      EXPECT_NEAR(rope.sin[t][i].item<double>(), std::sin(angle), 1e-7);
    }
  }
}

// If a part of a head is rotated, the frequencies are those of a head of that size, as transformers computes
// them for partial_rotary_factor.
TEST(Rotation, HoldsTheAnglesOfThePart) {
  const kernels::Rotation whole = make_rotation(300, 16, 500.0, at::kCPU);
  const kernels::Rotation part = make_rotation(300, 6, 500.0, at::kCPU, {.yarn = {}, .score_factor = 2.25});
  EXPECT_EQ(whole.rest, 1.0);
  EXPECT_EQ(part.rest, 1.5);
  ASSERT_EQ(part.cos.sizes(), at::IntArrayRef({300, 3}));
  for (int64_t i = 0; i < 3; ++i) {
    const double angle = 299.0 * std::pow(500.0, -2.0 * static_cast<double>(i) / 6.0);
    EXPECT_NEAR(part.cos[299][i].item<double>(), 1.5 * std::cos(angle), 2e-7);  // one rounding to fp32
    EXPECT_NEAR(part.sin[299][i].item<double>(), 1.5 * std::sin(angle), 2e-7);
  }
  const kernels::Rotation none = make_rotation(300, 0, 500.0, at::kCPU, {.yarn = {}, .score_factor = 2.25});
  EXPECT_EQ(none.cos.numel(), 0);
  EXPECT_EQ(none.rest, 1.5);
}

TEST(Rotation, IsMultipliedByTheRootOfTheFactorOfTheScores) {
  const kernels::Rotation plain = make_rotation(300, 8, 10000.0, at::kCPU);
  const kernels::Rotation same = make_rotation(300, 8, 10000.0, at::kCPU, {.yarn = {}, .score_factor = 1.0});
  EXPECT_TRUE(same.cos.equal(plain.cos) && same.sin.equal(plain.sin));
  const kernels::Rotation scaled =
      make_rotation(300, 8, 10000.0, at::kCPU, {.yarn = {}, .score_factor = 2.25});
  // Both are one rounding of the same fp64 number, times 1 or 1.5.
  EXPECT_LT((scaled.cos - 1.5 * plain.cos.to(at::kDouble)).abs().max().item<double>(), 2e-7);
  EXPECT_LT((scaled.sin - 1.5 * plain.sin.to(at::kDouble)).abs().max().item<double>(), 2e-7);
}

// Frequencies by numpy in float64 from the formulas of arXiv 2309.00071, with the rounding of the ramp's ends
// that transformers has.
TEST(Rotation, SlowsDownAsYarnDoes) {
  struct Case {
    double theta;
    Yarn yarn;
    double magnitude;  // 0.1 log factor + 1
    std::vector<double> frequencies;
  };
  const std::vector<Case> cases = {
      // A ramp from pair 1 to pair 5.
      {10000.0,
       {.factor = 8.0, .trained_length = 1024},
       1.2079441541679836,
       {1.0, 0.31622776601683794, 0.07812500000000001, 0.017787811838447132, 0.0034375, 0.0003952847075210474,
        0.000125, 3.952847075210474e-05}},
      {500000.0,
       {.factor = 4.0, .trained_length = 64},
       1.138629436111989,
       {1.0, 0.009401507732715983, 0.00035355339059327376, 1.329573974236247e-05}},
      // Windows so short that the ramp has no length.
      {10000.0, {.factor = 2.0, .trained_length = 4}, 1.0693147180559945, {1.0, 0.05, 0.005, 0.0005}},
  };
  for (const Case& c : cases) {
    const auto pairs = static_cast<int64_t>(c.frequencies.size());
    const kernels::Rotation rope =
        make_rotation(5000, 2 * pairs, c.theta, at::kCPU, {.yarn = c.yarn, .score_factor = 1.5});
    for (const int64_t t : {0, 1, 1023, 4999}) {
      for (int64_t i = 0; i < pairs; ++i) {
        const double angle = static_cast<double>(t) * c.frequencies[static_cast<size_t>(i)];
        const double magnitude = c.magnitude * std::sqrt(1.5);
        // One rounding to fp32 of a number below 2.
        EXPECT_NEAR(rope.cos[t][i].item<double>(), magnitude * std::cos(angle), 2e-7) << t << " " << i;
        EXPECT_NEAR(rope.sin[t][i].item<double>(), magnitude * std::sin(angle), 2e-7) << t << " " << i;
      }
    }
  }
  const kernels::Rotation unchanged = make_rotation(
      300, 8, 10000.0, at::kCPU, {.yarn = Yarn{.factor = 1.0, .trained_length = 64}, .score_factor = 1.0});
  const kernels::Rotation plain = make_rotation(300, 8, 10000.0, at::kCPU);
  EXPECT_LT((unchanged.cos - plain.cos).abs().max().item<double>(), 1e-6);
}

}  // namespace
}  // namespace ssgpt::model
