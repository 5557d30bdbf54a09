// Statistics of attention against the explicit softmax of the specification in float64, and against rows of
// weights that are known.

#include "model/attention_statistics.h"

#include "core/check.h"
#include "model/gpt.h"
#include "model/positions.h"
#include "model/reference.h"
#include "model/support.h"

#include <cmath>
#include <cstdint>
#include <limits>
#include <string>
#include <tuple>
#include <vector>

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/full.h>
#include <ATen/ops/xlogy.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

namespace ssgpt::model {
namespace {

using Kind = config::AttentionKind;

constexpr int64_t kEndOfDocument = 3;

// Entropies of some nats and weights up to 1, from scores of up to some tens, which are sums in fp32 and off
// by some 1e-6 of that; an entropy changes by no more than some times as much.
constexpr double kStatisticsTolerance = 1e-4;

std::vector<AttentionStatistics> statistics_of(GPT& gpt, const at::Tensor& tokens, int64_t block = 0) {
  std::vector<AttentionStatistics> layers;
  gpt.attention_statistics(
      tokens,
      [&](int64_t layer, const AttentionStatistics& statistics) {
        EXPECT_EQ(layer, static_cast<int64_t>(layers.size()));
        layers.push_back(statistics);
      },
      block);
  return layers;
}

double largest_error(const at::Tensor& actual, const at::Tensor& expected) {
  EXPECT_EQ(actual.sizes(), expected.sizes());
  return (actual.to(at::kDouble) - expected.detach()).abs().max().item<double>();
}

// From rows of weights, fp64 (B, N, T, T), and the keys that each query sees, int32 (B, T).
void expect_statistics(const AttentionStatistics& actual, const at::Tensor& weights,
                       const at::Tensor& num_keys) {
  EXPECT_LT(largest_error(actual.entropy, -at::xlogy(weights, weights).sum({3})), kStatisticsTolerance);
  EXPECT_LT(largest_error(actual.largest, weights.amax({3})), kStatisticsTolerance);
  EXPECT_TRUE(actual.num_keys.equal(num_keys));
  for (int64_t b = 0; b < num_keys.size(0); ++b) {
    for (int64_t t = 0; t < num_keys.size(1); ++t) {
      const int64_t first = t + 1 - num_keys[b][t].item<int64_t>();
      const at::Tensor expected = weights[b].select(1, t).select(1, first);
      EXPECT_LT(largest_error(actual.first[b].select(1, t), expected), kStatisticsTolerance) << b << " " << t;
    }
  }
}

class StatisticsOfVariant : public testing::TestWithParam<std::tuple<Variant, double>> {};

TEST_P(StatisticsOfVariant, AreThoseOfAnExplicitSoftmaxInFloat64) {
  const auto [variant, score_factor] = GetParam();
  GPTSpec spec = variant.spec();
  spec.sequence_length = 40;
  spec.rope_change.score_factor = score_factor;
  GPT gpt(spec, {.for_training = false});
  randomize(gpt.parameters(), 5);
  const Batch batch = random_batch(3, 40, spec.config.vocab_size, 1);
  ASSERT_TRUE(batch.tokens.eq(kEndOfDocument).any().item<bool>());
  const at::Tensor num_keys =
      variant.documents ? count_keys_within_documents(batch.tokens, kEndOfDocument) : count_keys(3, 40);
  const Reference reference(spec, gpt.parameters(), at::kDouble);
  const std::vector<ReferenceAttention> expected = reference.attentions(batch.tokens);
  const std::vector<AttentionStatistics> layers = statistics_of(gpt, batch.tokens);
  ASSERT_EQ(layers.size(), 2u);
  for (size_t layer = 0; layer < layers.size(); ++layer) {
    expect_statistics(layers[layer], expected[layer].weights.detach(), num_keys);
    const at::Tensor factors = expected[layer].factors.expand({3, 3, 40});
    EXPECT_LT(largest_error(layers[layer].factor, factors), 1e-5);  // of some units, in fp32
  }
}

std::string name_of(const testing::TestParamInfo<std::tuple<Variant, double>>& info) {
  return to_string(std::get<0>(info.param)) + (std::get<1>(info.param) == 1.0 ? "" : "_scaled");
}

INSTANTIATE_TEST_SUITE_P(Kinds, StatisticsOfVariant,
                         testing::Combine(testing::ValuesIn(plain_variants()), testing::Values(1.0, 1.5)),
                         name_of);
INSTANTIATE_TEST_SUITE_P(Options, StatisticsOfVariant,
                         testing::Combine(testing::ValuesIn(variants_of_options()),
                                          testing::Values(1.0, 1.5)),
                         name_of);

TEST(AttentionStatistics, DoNotDependOnTheBlock) {
  GPTSpec spec = small_spec(Kind::kSsmaxBias, kEndOfDocument);
  spec.sequence_length = 50;
  GPT gpt(spec, {.for_training = false});
  randomize(gpt.parameters(), 6);
  const Batch batch = random_batch(2, 50, spec.config.vocab_size, 2);
  const std::vector<AttentionStatistics> whole = statistics_of(gpt, batch.tokens, 50);
  for (const int64_t block : {1, 7, 16, 49, 1000}) {
    const std::vector<AttentionStatistics> parts = statistics_of(gpt, batch.tokens, block);
    for (size_t layer = 0; layer < whole.size(); ++layer) {
      // Another order of the fp32 sums that make the scores, of some tens, and of 50 weights.
      EXPECT_LT(largest_error(parts[layer].entropy, whole[layer].entropy.to(at::kDouble)), 3e-5) << block;
      EXPECT_LT(largest_error(parts[layer].largest, whole[layer].largest.to(at::kDouble)), 1e-5) << block;
      EXPECT_LT(largest_error(parts[layer].first, whole[layer].first.to(at::kDouble)), 1e-5) << block;
      EXPECT_TRUE(parts[layer].factor.equal(whole[layer].factor));
    }
  }
}

// The statistics leave the forward as it is: the loss behind them is that before them.
TEST(AttentionStatistics, ChangeNothing) {
  GPT gpt(small_spec(Kind::kSsmax), {.for_training = false});
  randomize(gpt.parameters(), 7);
  const Batch batch = random_batch(2, 11, 37, 3);
  const at::Tensor before = gpt.token_losses(batch.tokens, batch.targets).clone();
  statistics_of(gpt, batch.tokens, 3);
  EXPECT_TRUE(gpt.token_losses(batch.tokens, batch.targets).equal(before));
}

TEST(AttentionStatistics, OfBfloat16AreNearThoseOfFp32) {
  GPT exact(small_spec(Kind::kSsmax), {.for_training = false});
  GPT rounded(small_spec(Kind::kSsmax), {.device = at::kCPU, .dtype = at::kBFloat16, .for_training = false});
  randomize(exact.parameters(), 8);
  randomize(rounded.parameters(), 8);
  const Batch batch = random_batch(4, 11, 37, 4);
  const std::vector<AttentionStatistics> a = statistics_of(exact, batch.tokens);
  const std::vector<AttentionStatistics> b = statistics_of(rounded, batch.tokens);
  for (size_t layer = 0; layer < a.size(); ++layer) {
    EXPECT_EQ(b[layer].entropy.scalar_type(), at::kFloat);
    EXPECT_TRUE(b[layer].factor.equal(a[layer].factor));  // fp32 whatever the compute dtype
    // bf16 has 8 bits: queries and keys are off by up to 1/256, and scores of some tens by some tenths.
    EXPECT_LT(largest_error(b[layer].entropy, a[layer].entropy.to(at::kDouble)), 0.5);
    EXPECT_GT(largest_error(b[layer].entropy, a[layer].entropy.to(at::kDouble)), 0.0);
  }
}

// q = 1 and the scores of the keys as given, in a head of two dimensions: (1, T, 3, 1, 2).
at::Tensor qkv_of_scores(const std::vector<double>& scores) {
  const auto time = static_cast<int64_t>(scores.size());
  const at::Tensor qkv = at::zeros({1, time, 3, 1, 2}, at::kFloat);
  qkv.select(2, 0).select(3, 0).fill_(std::sqrt(2.0));
  for (int64_t t = 0; t < time; ++t) qkv[0][t][1][0][0] = static_cast<float>(scores[static_cast<size_t>(t)]);
  return qkv;
}

TEST(AttentionStatistics, OfRowsThatAreKnown) {
  AttentionStatistics statistics;
  fill_attention_statistics(qkv_of_scores(std::vector<double>(100, 2.5)), count_keys(1, 100), 0, statistics);
  for (int64_t t = 0; t < 100; ++t) {
    const double n = static_cast<double>(t + 1);
    EXPECT_NEAR(statistics.entropy[0][0][t].item<double>(), std::log(n), 2e-6) << t;
    EXPECT_NEAR(statistics.largest[0][0][t].item<double>(), 1.0 / n, 1e-7) << t;
    EXPECT_NEAR(statistics.first[0][0][t].item<double>(), 1.0 / n, 1e-7) << t;
  }
  // One key takes all, at scores far beyond the range of exp in fp32: nothing overflows.
  fill_attention_statistics(qkv_of_scores({0.0, 5000.0, -5000.0}), count_keys(1, 3), 0, statistics);
  EXPECT_EQ(statistics.entropy[0][0][2].item<double>(), 0.0);
  EXPECT_EQ(statistics.largest[0][0][2].item<double>(), 1.0);
  EXPECT_EQ(statistics.first[0][0][2].item<double>(), 0.0);
  // Values that are not finite show, in the rows that attend to them.
  const double nan = std::numeric_limits<double>::quiet_NaN();
  fill_attention_statistics(qkv_of_scores({0.0, nan, 0.0}), count_keys(1, 3), 0, statistics);
  EXPECT_EQ(statistics.entropy[0][0][0].item<double>(), 0.0);
  EXPECT_TRUE(std::isnan(statistics.entropy[0][0][2].item<double>()));
  EXPECT_TRUE(std::isnan(statistics.largest[0][0][1].item<double>()));
}

TEST(AttentionStatistics, OfOtherShapesAreDefects) {
  AttentionStatistics statistics;
  const at::Tensor qkv = qkv_of_scores({0.0, 1.0});
  EXPECT_THROW(fill_attention_statistics(qkv, count_keys(1, 3), 0, statistics), core::InternalError);
  EXPECT_THROW(fill_attention_statistics(qkv, count_keys(1, 2), -1, statistics), core::InternalError);
  EXPECT_THROW(fill_attention_statistics(qkv[0], count_keys(1, 2), 0, statistics), core::InternalError);
}

// c(n) by the closed formulas, at n far beyond those of the other tests.
TEST(ScoreFactors, AreThoseOfTheFormulas) {
  constexpr int64_t kCount = 5000;
  const at::Tensor s = at::full({2}, 0.43, at::kFloat);
  s[1] = -0.2f;
  const at::Tensor b = at::full({2}, -0.7, at::kFloat);
  RopeChange change;
  change.score_factor = 1.5;
  change.yarn = Yarn{.factor = 4.0, .trained_length = 64};
  const kernels::Rotation rotation = make_rotation(3, 8, 10000.0, at::kCPU, change);
  const double changed = 1.5 * std::pow(0.1 * std::log(4.0) + 1.0, 2);
  for (const Kind kind : all_kinds()) {
    kernels::RowScale row_scale;
    row_scale.position = make_position_table(
        kind, {.trained_length = 64, .attn_scale = 0.3, .floor_scale = 10}, kCount, at::kCPU);
    if (config::has_scale(kind)) row_scale.scale = s;
    if (config::has_bias(kind)) row_scale.bias = b;
    const at::Tensor factors = score_factors(row_scale, rotation, 2, 8, at::arange(1, kCount + 1, at::kInt));
    ASSERT_EQ(factors.sizes(), at::IntArrayRef({2, kCount}));
    for (int64_t head = 0; head < 2; ++head) {
      for (const int64_t n : {1, 2, 3, 10, 1024, 5000}) {
        const double log_n = std::log(static_cast<double>(n));
        const double scale = head == 0 ? 0.43 : -0.2;
        double c = 1.0;
        if (kind == Kind::kSoftmaxTemperature) c = scale;
        if (kind == Kind::kSsmax) c = scale * log_n;
        if (kind == Kind::kSsmaxFixed) c = log_n;
        if (kind == Kind::kLognClamped) c = n <= 64 ? 1.0 : log_n / std::log(64.0);
        if (kind == Kind::kLlama4Temperature)
          c = 1.0 + 0.3 * std::log(1.0 + static_cast<double>(n / 10));  // a whole number of tens
        if (kind == Kind::kSsmaxBias || kind == Kind::kLearnedPn) c = scale * log_n - 0.7;
        EXPECT_NEAR(factors[head][n - 1].item<double>(), changed * c, 1e-5)
            << config::to_string(kind) << " " << n;
      }
    }
  }
}

// YaRN's factor is of the rotated dimensions alone, as in transformers; that of an evaluation is of all.
TEST(ScoreFactors, AreTheMeanOverTheDimensionsOfAHead) {
  RopeChange change;
  change.score_factor = 1.5;
  change.yarn = Yarn{.factor = 4.0, .trained_length = 64};
  const double yarn = std::pow(0.1 * std::log(4.0) + 1.0, 2);
  const kernels::RowScale ssmax = {
      make_position_table(Kind::kSsmax, {}, 10, at::kCPU), at::full({2}, 0.43, at::kFloat), {}};
  for (const int64_t rotated : {0, 2, 6, 8}) {
    const kernels::Rotation rotation = make_rotation(3, rotated, 10000.0, at::kCPU, change);
    const double share = static_cast<double>(rotated) / 8.0;
    const at::Tensor factors = score_factors(ssmax, rotation, 2, 8, at::arange(1, 11, at::kInt));
    EXPECT_NEAR(factors[1][9].item<double>(), 0.43 * std::log(10.0) * 1.5 * (share * yarn + 1.0 - share),
                1e-6)  // of about 1, in fp32
        << rotated;
  }
}

}  // namespace
}  // namespace ssgpt::model
