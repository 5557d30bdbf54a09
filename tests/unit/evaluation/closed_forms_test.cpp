// The closed forms against their formulas in float64, and their row scale against that of a model.

#include "evaluation/closed_forms.h"

#include "core/error.h"
#include "model/gpt.h"
#include "model/support.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace ssgpt::evaluation {
namespace {

using enum config::AttentionKind;

// c(n) by its formula, with the s and b of the options.
double formula(const std::string& kind, double n, const ClosedFormOptions& options) {
  if (kind == "softmax") return 1.0;
  if (kind == "softmax_temperature") return options.scale;
  if (kind == "ssmax_fixed") return std::log(n);
  const config::PositionConstants& constants = options.constants;
  if (kind == "logn_clamped")
    return std::max(1.0, std::log(n) / std::log(static_cast<double>(constants.trained_length)));
  if (kind == "llama4_temperature") {
    const double periods = std::floor(n / static_cast<double>(constants.floor_scale));
    return 1.0 + constants.attn_scale * std::log(periods + 1.0);
  }
  return options.scale * std::log(n) + (kind == "ssmax_bias" ? options.bias : 0.0);
}

ClosedFormOptions all_closed_kinds() {
  ClosedFormOptions options;
  options.kinds.clear();
  for (const config::AttentionKindRow& row : config::attention_kinds()) {
    if (!row.learns_position) options.kinds.push_back(config::kind_of(row));
  }
  options.constants = {.trained_length = 100, .attn_scale = 0.2, .floor_scale = 30};
  options.scale = 0.3;
  options.bias = 0.7;
  return options;
}

// c(n) is rounded to fp32, 24 bits, and multiplies differences of up to 5 and 8 logits: a weight a is off by
// at most a (1 - a) times the error of the exponent.
constexpr double kWeightTolerance = 2e-6;

TEST(ClosedForms, OneLogitAmongEqualOnesFollowsTheFormula) {
  ClosedFormOptions options = all_closed_kinds();
  options.lengths = {1, 2, 3, 17, 1000, 65537, 1000000};
  const report::ClosedForms forms = compute_closed_forms(options);
  ASSERT_EQ(forms.fading.size(), options.kinds.size());
  for (const report::FadingCurve& curve : forms.fading) {
    for (size_t i = 0; i < options.lengths.size(); ++i) {
      const auto n = static_cast<double>(options.lengths[i]);
      const double c = formula(curve.attention, n, options);
      const double expected = std::exp(c * 3.0) / (std::exp(c * 3.0) + (n - 1.0) * std::exp(c * -2.0));
      EXPECT_NEAR(curve.weights[i], expected, kWeightTolerance) << curve.attention << " " << n;
      EXPECT_NEAR(curve.factors[i], c, 2e-6) << curve.attention << " " << n;
    }
  }
}

// SSMax is n^(s z) / sum of n^(s z), so a logit at 3 beside n - 1 at -2 has 1 / (1 + (n - 1) n^(-5 s)).
TEST(ClosedForms, SoftmaxFadesAndSsmaxDoesNot) {
  ClosedFormOptions options;
  options.lengths = default_lengths();
  const report::ClosedForms forms = compute_closed_forms(options);
  const report::FadingCurve& softmax = forms.fading[0];
  const report::FadingCurve& ssmax = forms.fading[1];
  for (size_t i = 0; i < options.lengths.size(); ++i) {
    const auto n = static_cast<double>(options.lengths[i]);
    EXPECT_NEAR(softmax.weights[i], 1.0 / (1.0 + (n - 1.0) * std::exp(-5.0)), kWeightTolerance);
    EXPECT_NEAR(ssmax.weights[i], 1.0 / (1.0 + (n - 1.0) * std::pow(n, -5.0 * 0.43)), kWeightTolerance);
    if (i > 0) {
      EXPECT_LT(softmax.weights[i], softmax.weights[i - 1]);
    }
  }
  EXPECT_LT(softmax.weights.back(), 0.01);
  EXPECT_GT(ssmax.weights.back(), 0.999);
}

TEST(ClosedForms, OneLogitAboveAnEvenSpreadFollowsTheFormula) {
  ClosedFormOptions options = all_closed_kinds();
  options.sizes = {3, 4, 50, 2000, 100000};
  const report::ClosedForms forms = compute_closed_forms(options);
  ASSERT_EQ(forms.focus.size(), options.kinds.size() * options.sizes.size());
  ASSERT_EQ(forms.maxima.size(), 101u);
  EXPECT_EQ(forms.maxima.front(), 0.0);
  EXPECT_NEAR(forms.maxima.back(), 1.0 + 2.0 / 0.3, 1e-12);
  for (const report::FocusCurve& curve : forms.focus) {
    const auto n = static_cast<double>(curve.n);
    const double c = formula(curve.attention, n, options);
    // A geometric series: the sum over i = 0 ... n - 2 of q^i with q = exp(c / (n - 2)).
    const double q = c / (n - 2.0);
    const double others = std::expm1(q * (n - 1.0)) / std::expm1(q);
    for (size_t i = 0; i < forms.maxima.size(); ++i) {
      const double expected = 1.0 / (1.0 + others * std::exp(-c * forms.maxima[i]));
      EXPECT_NEAR(curve.weights[i], expected, kWeightTolerance) << curve.attention << " " << n;
    }
  }
}

// As n grows, the weight of SSMax tends to 1 above 1 + 1/s and to 0 below 1/s.
TEST(ClosedForms, SsmaxFocusesBeyondTheReciprocalOfItsScale) {
  ClosedFormOptions options;
  options.kinds = {kSsmax};
  options.scale = 0.5;  // maxima of 0.00, 0.05, ... 5.00
  options.sizes = {10, 1000, 100000};
  const report::ClosedForms forms = compute_closed_forms(options);
  const size_t below = 30;  // 1.5, where 1/s is 2
  const size_t above = 80;  // 4, where 1 + 1/s is 3
  ASSERT_NEAR(forms.maxima[below], 1.5, 1e-12);
  ASSERT_NEAR(forms.maxima[above], 4.0, 1e-12);
  for (size_t i = 1; i < 3; ++i) {
    EXPECT_LT(forms.focus[i].weights[below], forms.focus[i - 1].weights[below]);
    EXPECT_GT(forms.focus[i].weights[above], forms.focus[i - 1].weights[above]);
  }
  EXPECT_LT(forms.focus[2].weights[below], 0.02);
  EXPECT_GT(forms.focus[2].weights[above], 0.99);
}

// The row scale is that of a model's queries: the same bits.
TEST(ClosedForms, HaveTheRowScaleOfAModel) {
  const ClosedFormOptions asked = all_closed_kinds();
  for (const config::AttentionKind kind : asked.kinds) {
    model::GPTSpec spec = model::small_spec(kind);
    spec.sequence_length = 300;
    spec.trained_length = asked.constants.trained_length;
    spec.config.attention.attn_scale = asked.constants.attn_scale;
    spec.config.attention.floor_scale = asked.constants.floor_scale;
    model::GPT gpt(spec, {.for_training = false});
    model::randomize(gpt.parameters(), 5);
    for (const model::Parameter& parameter : gpt.parameters().parameters()) {
      const std::string& name = parameter.spec.name;
      if (name.ends_with("ssmax_scale")) gpt.parameters().master(name).fill_(asked.scale);
      if (name.ends_with("ssmax_bias")) gpt.parameters().master(name).fill_(asked.bias);
    }
    ClosedFormOptions options = asked;
    options.kinds = {kind};
    options.lengths = {1, 2, 77, 300};
    const report::ClosedForms forms = compute_closed_forms(options);
    const model::Batch batch = model::random_batch(1, 300, 37, 1);
    gpt.attention_statistics(batch.tokens, [&](int64_t, const model::AttentionStatistics& statistics) {
      for (size_t i = 0; i < options.lengths.size(); ++i) {
        for (int64_t head = 0; head < 3; ++head) {
          const at::Tensor factor = statistics.factor[0][head][options.lengths[i] - 1];
          EXPECT_EQ(factor.item<double>(), forms.fading[0].factors[i]) << config::to_string(kind);
        }
      }
    });
  }
}

TEST(ClosedForms, AreOfTheUsualLengthsWhereNoneIsGiven) {
  const std::vector<int64_t> lengths = default_lengths();
  EXPECT_EQ(lengths.front(), 1);
  EXPECT_EQ(lengths.back(), 100000);
  EXPECT_TRUE(std::is_sorted(lengths.begin(), lengths.end()));
  EXPECT_THAT(lengths, testing::IsSupersetOf({1, 10, 100, 1000, 10000}));
  EXPECT_EQ(compute_closed_forms({}).lengths, lengths);
}

// The limits of what is allowed, where fp32 and exp() have most to bear.
TEST(ClosedForms, AreFiniteWhereverTheyAreAllowed) {
  ClosedFormOptions options = all_closed_kinds();
  options.sizes = {3, 1000};
  for (const double scale : {1e-6, 1e6}) {
    for (const double bias : {-1e6, 1e6}) {
      for (const auto& [high, low] :
           {std::pair{1e6, -1e6}, std::pair{1e6, 999'999.0}, std::pair{-999'999.0, -1e6}}) {
        options.scale = scale;
        options.bias = bias;
        options.high = high;
        options.low = low;
        options.lengths = {1, 2, 1000};
        if (scale > 1.0 && bias > 0.0)
          options.lengths.push_back(1 << 24);  // takes half a second for each kind
        const report::ClosedForms forms = compute_closed_forms(options);
        const auto all_weigh = [](const auto& curve) {
          EXPECT_THAT(curve.weights, testing::Each(testing::AllOf(testing::Ge(0.0), testing::Le(1.0))));
        };
        for (const report::FadingCurve& curve : forms.fading) all_weigh(curve);
        for (const report::FocusCurve& curve : forms.focus) all_weigh(curve);
        EXPECT_THAT(forms.maxima, testing::Each(testing::Le(3e6)));
      }
    }
  }
  options.scale = 1e-6;  // is not rounded to 0, as a smaller one would be in fp32
  options.kinds = {kSsmax};
  options.bias = 0.0;
  options.lengths = {1000};
  options.high = 1e6;
  options.low = 0.0;
  const double weight = 1.0 / (1.0 + 999.0 * std::exp(-std::log(1000.0)));  // s (high - low) = 1
  EXPECT_NEAR(compute_closed_forms(options).fading[0].weights[0], weight, kWeightTolerance);
}

TEST(ClosedForms, RefuseWhatHasNoMeaning) {
  const auto refused = [](const auto& change) {
    ClosedFormOptions options;
    change(options);
    EXPECT_THROW(compute_closed_forms(options), core::UsageError);
  };
  refused([](auto& o) { o.kinds = {}; });
  refused([](auto& o) { o.kinds = {kSsmax, kSsmax}; });
  refused([](auto& o) { o.kinds = {kLearnedPn}; });
  constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();
  for (const double scale : {0.0, -0.5, 1e-320, 1e-45, 9e-7, 1.1e6, 1e300, HUGE_VAL, kNaN})
    refused([&](auto& o) { o.scale = scale; });
  for (const double value : {-1e300, -1.1e6, 1.1e6, 1e300, HUGE_VAL, kNaN}) {
    refused([&](auto& o) { o.bias = value; });
    refused([&](auto& o) { o.high = value; });
    refused([&](auto& o) { o.low = value; });
  }
  refused([](auto& o) { o.high = -2.0; });
  refused([](auto& o) { o.lengths = {0, 1}; });
  refused([](auto& o) { o.lengths = {2, 2}; });
  refused([](auto& o) { o.lengths = {int64_t{1} << 40}; });
  refused([](auto& o) { o.sizes = {2}; });
  refused([](auto& o) { o.sizes = {}; });
}

}  // namespace
}  // namespace ssgpt::evaluation
