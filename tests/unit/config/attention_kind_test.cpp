// The table of kinds, and the rules for their keys.
#include "config/attention_kind.h"

#include "config/config.h"
#include "config/minimal_config.h"
#include "config/schema.h"

#include <cmath>
#include <set>
#include <string>
#include <string_view>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace ssgpt::config {
namespace {

using testing::HasSubstr;

TEST(KindOfAttention, ChangesWithTheFirstUpdateAfterASwap) {
  using enum AttentionKind;
  Config config = minimal_with({});
  EXPECT_EQ(attention_kind(config, 1), kSoftmax);
  EXPECT_EQ(attention_kind(config, 1000), kSoftmax);
  config.train.swap_attention = {{8, kSsmaxBias}, {10, kSsmax}, {15, kSsmaxBias}};
  EXPECT_EQ(attention_kind(config, 8), kSoftmax);
  EXPECT_EQ(attention_kind(config, 9), kSsmaxBias);
  EXPECT_EQ(attention_kind(config, 10), kSsmaxBias);
  EXPECT_EQ(attention_kind(config, 11), kSsmax);
  EXPECT_EQ(attention_kind(config, 15), kSsmax);
  EXPECT_EQ(attention_kind(config, 16), kSsmaxBias);
}

TEST(Validation, AScaleOfZeroNeedsABias) {
  const auto with = [](const std::string& kind, const std::string& scale, const std::string& bias) {
    return message_with("", {"model.attention.kind=" + kind, "model.attention.scale_init=" + scale,
                             "model.attention.bias_init=" + bias});
  };
  EXPECT_THAT(with("ssmax", "0", "1"), HasSubstr("model.attention.scale_init = 0: must not be 0"));
  EXPECT_THAT(with("softmax_temperature", "0", "1"), HasSubstr("must not be 0"));
  EXPECT_THAT(with("ssmax_bias", "0.0", "0"), HasSubstr("must not be 0"));
  EXPECT_THAT(with("learned_pn", "0", "0"), HasSubstr("must not be 0"));
  EXPECT_EQ(with("ssmax_bias", "0", "1"), "");
  EXPECT_EQ(with("ssmax", "auto", "0"), "");
  EXPECT_EQ(with("softmax", "0", "0"), "");
  EXPECT_EQ(with("ssmax_fixed", "0", "0"), "");
  EXPECT_THAT(
      message_with("", {"model.attention.scale_init=0", "train.swap_attention={at_step: 5, kind: ssmax}"}),
      HasSubstr("must not be 0"));
}

// arXiv 2501.19399, section 4: 0.168 for 1,024; log(n!) = lgamma(n + 1).
TEST(ResolvedScaleInit, IsTheReciprocalOfTheMeanLogarithm) {
  AttentionConfig ssmax;
  ssmax.kind = AttentionKind::kSsmax;
  EXPECT_NEAR(resolved_scale_init(ssmax, 1024), 0.168, 5e-4);
  for (const int64_t length : {2, 512, 1024, 100'000}) {
    const double expected = static_cast<double>(length) / std::lgamma(static_cast<double>(length) + 1);
    EXPECT_NEAR(resolved_scale_init(ssmax, length), expected,
                1e-12 * expected);  // rounding of 100,000 additions
  }
  ssmax.scale_init = 0.43;
  EXPECT_EQ(resolved_scale_init(ssmax, 1024), 0.43);
}

TEST(ResolvedScaleInit, OfATemperatureHasTheMeanRowScaleOfSsmax) {
  AttentionConfig attention;
  attention.kind = AttentionKind::kSoftmaxTemperature;
  for (const int64_t length : {2, 3, 512, 1024, 100'000}) {
    attention.scale_init = std::nullopt;
    EXPECT_EQ(resolved_scale_init(attention, length), 1.0);
    attention.scale_init = 0.43;
    const double expected = 0.43 * std::lgamma(static_cast<double>(length) + 1) / static_cast<double>(length);
    EXPECT_NEAR(resolved_scale_init(attention, length), expected, 1e-12 * expected);
  }
  attention.scale_init = 1.0;
  EXPECT_NEAR(resolved_scale_init(attention, 1024), 5.94, 5e-3);
}

TEST(PositionRatio, IsExactlyOneBetweenKindsOfOneLawAndReadsBackward) {
  using enum AttentionKind;
  const auto ratio = [](AttentionKind from, AttentionKind to, int64_t length) {
    return position_ratio({.kind = from, .scale_init = {}}, {.kind = to, .scale_init = {}}, length);
  };
  EXPECT_EQ(ratio(kSsmax, kLearnedPn, 1024), 1.0);
  EXPECT_EQ(ratio(kSsmaxBias, kSsmax, 19), 1.0);
  const double mean_log = std::lgamma(1025.0) / 1024.0;
  EXPECT_NEAR(ratio(kSsmax, kSoftmaxTemperature, 1024), mean_log, 1e-12);
  EXPECT_NEAR(ratio(kSoftmaxTemperature, kSsmax, 1024), 1.0 / mean_log, 1e-12);
}

// Qwen's and Llama 4's formulas at the ends of what they tell apart. Llama 4 forms the same in fp32: position
// 8,191, counted from 0, is the first of the second period.
TEST(InitialPosition, IsTheFormulaOfEachFixedKind) {
  using enum AttentionKind;
  const PositionConstants defaults = {.trained_length = 1024};
  for (const int64_t n : {1, 2, 1023, 1024}) EXPECT_EQ(initial_position(kLognClamped, defaults, n), 1.0) << n;
  EXPECT_NEAR(initial_position(kLognClamped, defaults, 1025), std::log(1025.0) / std::log(1024.0), 1e-15);
  EXPECT_NEAR(initial_position(kLognClamped, defaults, 1 << 20), 2.0, 1e-15);
  for (const int64_t n : {1, 8191}) EXPECT_EQ(initial_position(kLlama4Temperature, defaults, n), 1.0) << n;
  EXPECT_NEAR(initial_position(kLlama4Temperature, defaults, 8192), 1.0 + 0.1 * std::log(2.0), 1e-15);
  EXPECT_NEAR(initial_position(kLlama4Temperature, defaults, 24575), 1.0 + 0.1 * std::log(3.0), 1e-15);
  const PositionConstants own = {.trained_length = 1024, .attn_scale = 0.5, .floor_scale = 1};
  EXPECT_NEAR(initial_position(kLlama4Temperature, own, 7), 1.0 + 0.5 * std::log(8.0), 1e-15);
  for (const int64_t length : {1, 2})
    EXPECT_TRUE(std::isfinite(initial_position(kLognClamped, {.trained_length = length}, 1000))) << length;
}

TEST(Validation, TheConstantsOfOneKindAreRefusedWithOthers) {
  const std::string kind = "model.attention.kind=";
  EXPECT_EQ(message_with("", {kind + "llama4_temperature", "model.attention.attn_scale=0.2",
                              "model.attention.floor_scale=64"}),
            "");
  const Config own = minimal_with(
      {kind + "llama4_temperature", "model.attention.attn_scale=0.2", "model.attention.floor_scale=64"});
  EXPECT_EQ(own.model.attention.attn_scale, 0.2);
  EXPECT_EQ(own.model.attention.floor_scale, 64);
  const PositionConstants defaults =
      position_constants(minimal_with({kind + "llama4_temperature"}).model.attention, 512);
  EXPECT_EQ(defaults.attn_scale, 0.1);
  EXPECT_EQ(defaults.floor_scale, 8192);
  EXPECT_EQ(defaults.trained_length, 512);
  EXPECT_EQ(message_with("", {"model.attention.floor_scale=64",
                              "train.swap_attention={at_step: 5, kind: llama4_temperature}"}),
            "");
  for (const AttentionKindRow& row : attention_kinds()) {
    if (row.has_floor) continue;
    const std::string name(row.name);
    EXPECT_THAT(message_with("", {kind + name, "model.attention.attn_scale=0.2"}),
                HasSubstr("model.attention.attn_scale = 0.2: has no effect with model.attention.kind = " +
                          name + "; leave it at auto, or choose llama4_temperature"));
    EXPECT_THAT(message_with("", {kind + name, "model.attention.floor_scale=8192"}),
                HasSubstr("model.attention.floor_scale = 8192: has no effect"));
  }
  for (const char* value : {"0", "-1", "1000.5", ".nan", "much"}) {
    EXPECT_THAT(
        message_with("", {kind + "llama4_temperature", std::string("model.attention.attn_scale=") += value}),
        HasSubstr("expected auto or a number above 0 and at most 1000"))
        << value;
  }
  for (const char* value : {"0", "-1", "0.5", "16777217"}) {
    EXPECT_THAT(
        message_with("", {kind + "llama4_temperature", std::string("model.attention.floor_scale=") += value}),
        HasSubstr("expected auto or an integer from 1 to 16777216"))
        << value;
  }
}

// What a row states about its parameters agrees with its formula.
TEST(AttentionKind, RowsAgreeWithTheirFormulas) {
  std::set<std::string_view> names;
  std::set<std::string_view> titles;
  for (const AttentionKindRow& row : attention_kinds()) {
    SCOPED_TRACE(row.name);
    EXPECT_EQ(&row_of(kind_of(row)), &row);
    names.insert(row.name);
    titles.insert(row.title);
    const auto shows = [&](std::string_view part) {
      return row.row_scale.find(part) != std::string_view::npos;
    };
    EXPECT_EQ(row.has_scale, row.row_scale == "s" || row.row_scale.starts_with("s "));
    EXPECT_EQ(row.has_bias, row.row_scale.ends_with(" + b"));
    EXPECT_EQ(row.learns_position, shows("p_n"));
    EXPECT_EQ(row.has_floor, shows("n / f"));
    EXPECT_EQ(row.position == nullptr, row.row_scale == "1");
    EXPECT_THAT(find_key("model.attention.kind")->meaning,
                HasSubstr(fmt::format("{}: {}", row.name, row.row_scale)));
  }
  EXPECT_EQ(names.size(), attention_kinds().size());
  EXPECT_EQ(titles.size(), attention_kinds().size());
}

TEST(AttentionKind, NamesReadBack) {
  ASSERT_EQ(attention_kind_names().size(), attention_kinds().size());
  for (const std::string& name : attention_kind_names()) {
    EXPECT_EQ(to_string(*parse_attention_kind(name)), name);
  }
  EXPECT_EQ(parse_attention_kind("Softmax"), std::nullopt);
  EXPECT_EQ(to_string(AttentionKind::kSsmaxBias), "ssmax_bias");
}

}  // namespace
}  // namespace ssgpt::config
