#include "checkpoint/snapshots.h"
#include "checkpoint/state.h"
#include "core/error.h"

#include <cmath>
#include <tuple>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace ssgpt::checkpoint {
namespace {

using config::AttentionKind;

config::AttentionConfig attention_of(AttentionKind kind) {
  config::AttentionConfig attention;
  attention.kind = kind;
  return attention;
}

// The mean over 19 positions of what multiplies s, of a learned p_n at its start, which is what the
// conversion goes by.
double mean_position(AttentionKind kind) {
  if (kind == AttentionKind::kSoftmaxTemperature) return 1.0;
  double sum = 0.0;
  for (int n = 1; n <= 19; ++n) sum += std::log(n);
  return sum / 19.0;
}

// Element by element what `before` is times `factor`; both round to fp32.
void expect_product(const at::Tensor& after, const model::Parameter& to, const at::Tensor& before,
                    const model::Parameter& from, double factor) {
  for (int64_t i = 0; i < to.numel; ++i) {
    const double expected = before.const_data_ptr<float>()[from.offset + i] * factor;
    EXPECT_NEAR(after.const_data_ptr<float>()[to.offset + i], expected, 2e-7 * std::abs(expected))
        << to.spec.name;
  }
}

class Swap : public testing::TestWithParam<std::tuple<AttentionKind, AttentionKind>> {};

// If s now multiplies 1 instead of log n, or the reverse, s L keeps its mean. The gradient of c s is 1 / c of
// that of s, and so is the first moment; the second moment is of squares.
TEST_P(Swap, KeepsSharedTensorsBitForBitAndStartsNewOnesAsAskedFor) {
  const auto [from_kind, to_kind] = GetParam();
  const Snapshot from = random_snapshot(from_kind);
  const Snapshot to = with_attention(from, {.kind = to_kind, .scale_init = 0.43, .bias_init = 0.25});
  EXPECT_EQ(to.spec.config.attention.kind, to_kind);
  EXPECT_EQ(to.trainer->step, from.trainer->step);
  const auto expected = model::parameter_specs(to.spec.config, to.spec.sequence_length);
  ASSERT_EQ(to.flat.layout.size(), expected.size());
  size_t shared = 0;
  for (const model::Parameter& parameter : to.flat.layout) {
    const std::string& name = parameter.spec.name;
    const double mean_before = mean_position(from_kind);
    const double mean_after = mean_position(to_kind);
    if (const model::Parameter* old = find(from.flat, name)) {
      ++shared;
      if (name.ends_with("ssmax_scale") && mean_before != mean_after) {
        const double factor = mean_before / mean_after;
        expect_product(to.flat.master, parameter, from.flat.master, *old, factor);
        expect_product(to.flat.exp_avg, parameter, from.flat.exp_avg, *old, 1.0 / factor);
        expect_product(to.flat.exp_avg_sq, parameter, from.flat.exp_avg_sq, *old, 1.0 / (factor * factor));
        continue;
      }
      EXPECT_EQ(bits_of(to.flat.master, parameter), bits_of(from.flat.master, *old)) << name;
      EXPECT_EQ(bits_of(to.flat.exp_avg, parameter), bits_of(from.flat.exp_avg, *old)) << name;
      EXPECT_EQ(bits_of(to.flat.exp_avg_sq, parameter), bits_of(from.flat.exp_avg_sq, *old)) << name;
      continue;
    }
    ASSERT_NE(name.find("ssmax_"), std::string::npos) << name;
    for (int64_t i = 0; i < parameter.numel; ++i) {
      const double value = to.flat.master.const_data_ptr<float>()[parameter.offset + i];
      const double start = name.ends_with("ssmax_scale")  ? 0.43
                           : name.ends_with("ssmax_bias") ? 0.25
                                                          : std::log(static_cast<double>(i + 1));
      if (to_kind == AttentionKind::kSoftmaxTemperature) {
        EXPECT_NEAR(value, 0.43 * mean_position(AttentionKind::kSsmax), 1e-7) << name;  // one rounding
      } else {
        EXPECT_EQ(value, static_cast<double>(static_cast<float>(start))) << name << " " << i;
      }
      EXPECT_EQ(to.flat.exp_avg.const_data_ptr<float>()[parameter.offset + i], 0.0F) << name;
      EXPECT_EQ(to.flat.exp_avg_sq.const_data_ptr<float>()[parameter.offset + i], 0.0F) << name;
    }
  }
  EXPECT_GE(shared, 3U + 9U * 3U);  // all of Llama's tensors of three layers
}
INSTANTIATE_TEST_SUITE_P(Pairs, Swap,
                         testing::Combine(testing::ValuesIn(all_kinds()), testing::ValuesIn(all_kinds())));

TEST(SwapOfAModelWithOptions, KeepsThem) {
  model::GPTSpec spec = tiny_spec(AttentionKind::kSoftmax);
  spec.config.qk_norm = config::QkNorm::kRms;
  spec.config.rope_fraction = 1.0 / 3.0;
  spec.config.nope_layers.layers = {1};
  const Snapshot from = random_snapshot(spec);
  for (const AttentionKind kind : all_kinds()) {
    const Snapshot to = with_attention(from, attention_of(kind));
    EXPECT_EQ(to.spec.config.qk_norm, config::QkNorm::kRms);
    EXPECT_EQ(to.spec.config.rope_fraction, spec.config.rope_fraction);
    EXPECT_EQ(to.spec.config.nope_layers, spec.config.nope_layers);
    for (const char* norm : {"q_norm", "k_norm"}) {
      const std::string name = fmt::format("model.layers.2.self_attn.{}.weight", norm);
      const model::Parameter* before = find(from.flat, name);
      const model::Parameter* after = find(to.flat, name);
      ASSERT_TRUE(before != nullptr && after != nullptr) << name;
      EXPECT_EQ(bits_of(to.flat.master, *after), bits_of(from.flat.master, *before));
      EXPECT_EQ(bits_of(to.flat.exp_avg_sq, *after), bits_of(from.flat.exp_avg_sq, *before));
    }
  }
}

// 1 / mean(log n), n = 1..19, written out.
TEST(SwapWithoutAScale, StartsWhereTheAverageRowScaleIsOne) {
  double sum = 0.0;
  for (int n = 1; n <= 19; ++n) {
    sum += std::log(n);
  }
  const Snapshot to =
      with_attention(random_snapshot(AttentionKind::kSoftmax), attention_of(AttentionKind::kSsmax));
  const model::Parameter* scale = find(to.flat, "model.layers.1.self_attn.ssmax_scale");
  ASSERT_NE(scale, nullptr);
  EXPECT_NEAR(to.flat.master.const_data_ptr<float>()[scale->offset], 19.0 / sum, 1e-7);
}

TEST(SwapWithoutAScale, OfATemperatureStartsAtOneExactly) {
  const Snapshot to = with_attention(random_snapshot(AttentionKind::kSoftmax),
                                     attention_of(AttentionKind::kSoftmaxTemperature));
  for (const model::Parameter& parameter : to.flat.layout) {
    if (!parameter.spec.name.ends_with("ssmax_scale")) continue;
    for (int64_t i = 0; i < parameter.numel; ++i) {
      EXPECT_EQ(to.flat.master.const_data_ptr<float>()[parameter.offset + i], 1.0F);
    }
  }
}

TEST(SwapToFixed, WarnsThatScoresGrow) {
  testing::internal::CaptureStderr();
  with_attention(random_snapshot(AttentionKind::kSoftmax), attention_of(AttentionKind::kSsmaxFixed));
  EXPECT_THAT(testing::internal::GetCapturedStderr(), testing::HasSubstr("multiplies scores by log n, 2.1"));
}

// L of these is 1 throughout a window of 19 but for the last, whose mean is above 2.
TEST(SwapToFixed, WarnsOfOtherKindsByTheirMeanAlone) {
  const auto warning = [](AttentionKind from, const config::AttentionConfig& to) {
    testing::internal::CaptureStderr();
    with_attention(random_snapshot(from), to);
    return testing::internal::GetCapturedStderr();
  };
  EXPECT_EQ(warning(AttentionKind::kSoftmax, attention_of(AttentionKind::kLognClamped)), "");
  config::AttentionConfig llama4 = attention_of(AttentionKind::kLlama4Temperature);
  EXPECT_EQ(warning(AttentionKind::kSoftmax, llama4), "");
  EXPECT_EQ(warning(AttentionKind::kSsmaxFixed, llama4), "");
  llama4.attn_scale = 1.0;
  llama4.floor_scale = 1;
  double mean = 0.0;
  for (int n = 1; n <= 19; ++n) mean += (1.0 + std::log(n + 1.0)) / 19.0;
  EXPECT_THAT(warning(AttentionKind::kSoftmax, llama4),
              testing::HasSubstr(fmt::format(
                  "to llama4_temperature, which multiplies scores by 1 + a log(floor(n / f) + 1), {:.1f} on "
                  "average over 19 positions",
                  mean)));
}

// Nothing is converted: a new s starts where the mean row scale is 1, as from softmax.
TEST(SwapFromFixed, StartsANewScaleAsFromSoftmax) {
  for (const AttentionKind from : {AttentionKind::kLognClamped, AttentionKind::kLlama4Temperature}) {
    const Snapshot to = with_attention(random_snapshot(from), attention_of(AttentionKind::kSsmax));
    const Snapshot expected =
        with_attention(random_snapshot(AttentionKind::kSoftmax), attention_of(AttentionKind::kSsmax));
    expect_equal_tensors(to.flat, expected.flat, /*moments=*/true);
  }
}

TEST(SwapWithoutMoments, StaysWithoutMoments) {
  Snapshot from = random_snapshot(AttentionKind::kSoftmax);
  from.flat.exp_avg = from.flat.exp_avg_sq = at::Tensor();
  EXPECT_FALSE(with_attention(from, attention_of(AttentionKind::kSsmax)).flat.exp_avg.defined());
}

TEST(CopyByName, NamesWhatIsMissingAndRefusesOtherShapes) {
  const Snapshot from = random_snapshot(AttentionKind::kSoftmax);
  Snapshot to = random_snapshot(AttentionKind::kSsmax, 7, /*seed=*/2);
  const std::vector<std::string> missing = copy_by_name(from.flat, to.flat);
  EXPECT_THAT(missing, testing::ElementsAre("model.layers.0.self_attn.ssmax_scale",
                                            "model.layers.1.self_attn.ssmax_scale",
                                            "model.layers.2.self_attn.ssmax_scale"));
  model::GPTSpec wider = tiny_spec(AttentionKind::kSoftmax);
  wider.config.vocab_size = 38;
  const FlatState other = make_flat_state(model::parameter_specs(wider.config, wider.sequence_length), false);
  EXPECT_THROW(copy_by_name(from.flat, other), core::InputError);
}

TEST(LoadInto, CopiesEveryTensorOrListsWhatIsMissing) {
  const Snapshot learned = random_snapshot(AttentionKind::kLearnedPn);
  const Snapshot softmax = random_snapshot(AttentionKind::kSoftmax, /*step=*/7, /*seed=*/2);
  load_into(learned.flat, softmax.flat);
  for (const model::Parameter& parameter : softmax.flat.layout) {
    EXPECT_EQ(bits_of(softmax.flat.exp_avg_sq, parameter),
              bits_of(learned.flat.exp_avg_sq, *find(learned.flat, parameter.spec.name)));
  }
  try {
    load_into(softmax.flat, learned.flat);
    FAIL();
  } catch (const core::InputError& error) {
    EXPECT_THAT(error.what(), testing::HasSubstr("lacks 7 of"));  // s and b of three layers, p_n
    EXPECT_THAT(error.what(), testing::HasSubstr("model.layers.2.self_attn.ssmax_bias"));
    EXPECT_THAT(error.what(), testing::HasSubstr("model.ssmax_position"));
  }
}

}  // namespace
}  // namespace ssgpt::checkpoint
