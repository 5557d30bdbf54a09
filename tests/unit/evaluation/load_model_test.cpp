// How overrides change a model as it is read.

#include "evaluation/load_model.h"

#include "checkpoint/checkpoint.h"
#include "core/check.h"
#include "core/error.h"
#include "core/temporary_directory.h"
#include "evaluation/models.h"
#include "model/support.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include <ATen/TensorOperators.h>
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace ssgpt::evaluation {
namespace {

using Kind = config::AttentionKind;
using model::GPT;
using model::GPTSpec;
using testing::HasSubstr;

const char* const kPosition = "model.ssmax_position";

// The model of this spec with the parameters of `from`, p_n as far as both have it.
std::unique_ptr<GPT> with_parameters_of(const LoadedModel& from, const GPTSpec& spec) {
  auto gpt = std::make_unique<GPT>(spec, model::Execution{});
  for (const model::Parameter& parameter : gpt->parameters().parameters()) {
    gpt->parameters().master(parameter.spec.name).copy_(from.model->parameters().master(parameter.spec.name));
  }
  return gpt;
}

class Loading : public testing::Test {
 protected:
  std::filesystem::path write(Kind kind) const { return write_checkpoint(directory_.path(), kind); }
  const model::Batch batch_ = model::random_batch(2, kLong, kVocabulary, 3);
  const TemporaryDirectory directory_;
};

TEST_F(Loading, WithoutOverridesIsTheCheckpoint) {
  const LoadedModel loaded = load_model(write(Kind::kSsmaxBias), {});
  const GPTSpec spec = model::small_spec(Kind::kSsmaxBias);
  EXPECT_EQ(loaded.trained_length, kTrainedLength);
  EXPECT_EQ(loaded.rope_theta, spec.config.rope_theta);
  EXPECT_FALSE(loaded.pn_fit.has_value());
  GPT expected(spec, {});
  model::randomize(expected.parameters(), 5);
  const at::Tensor tokens = batch_.tokens.narrow(1, 0, kTrainedLength).contiguous();
  EXPECT_TRUE(loaded.model->logits(tokens).equal(expected.logits(tokens)));
  EXPECT_FALSE(loaded.model->parameters().flat_grad().defined());
}

TEST_F(Loading, TakesThetaAndTheScaleOfTheScores) {
  const auto path = write(Kind::kSsmax);
  const LoadedModel plain = load_model(path, {.sequence_length = kLong});
  const LoadedModel loaded =
      load_model(path, {.sequence_length = kLong, .overrides = {.rope_theta = 500000.0, .row_scale = 1.5}});
  EXPECT_EQ(loaded.rope_theta, 500000.0);
  EXPECT_EQ(loaded.trained_length, kTrainedLength);
  GPTSpec spec = model::small_spec(Kind::kSsmax);
  spec.sequence_length = kLong;
  spec.config.rope_theta = 500000.0;
  const auto with_theta = with_parameters_of(loaded, spec);
  // s log n times 1.5 is the row scale of s times 1.5: another order of the same products, in fp32.
  for (const char* layer : {"0", "1"}) {
    with_theta->parameters().master(fmt::format("model.layers.{}.self_attn.ssmax_scale", layer)).mul_(1.5);
  }
  const at::Tensor logits = loaded.model->logits(batch_.tokens);
  EXPECT_LT(model::relative_error(logits, with_theta->logits(batch_.tokens)), 1e-5);
  EXPECT_GT(model::relative_error(plain.model->logits(batch_.tokens), logits), 1e-2);
  const LoadedModel same = load_model(
      path, {.sequence_length = kLong, .overrides = {.rope_theta = plain.rope_theta, .row_scale = 1.0}});
  EXPECT_TRUE(same.model->logits(batch_.tokens).equal(plain.model->logits(batch_.tokens)));
}

TEST_F(Loading, StretchesWindowsAsYarnDoesFromTheTrainedLength) {
  const auto path = write(Kind::kSoftmax);
  const LoadedModel loaded =
      load_model(path, {.sequence_length = kLong, .overrides = {.rope_theta = 20000.0, .yarn_factor = 4.0}});
  GPTSpec spec = model::small_spec(Kind::kSoftmax);
  spec.sequence_length = kLong;
  spec.config.rope_theta = 20000.0;
  spec.rope_change.yarn = model::Yarn{.factor = 4.0, .trained_length = kTrainedLength};
  EXPECT_TRUE(
      loaded.model->logits(batch_.tokens).equal(with_parameters_of(loaded, spec)->logits(batch_.tokens)));
}

TEST_F(Loading, SwapsTheAttentionAsConvertDoes) {
  for (const Kind from : model::all_kinds()) {
    const auto path = write(from);
    const checkpoint::Snapshot before = checkpoint::read(path, /*with_optimizer=*/false);
    for (const Kind to : model::all_kinds()) {
      const LoadedModel loaded = load_model(path, {.overrides = {.attention = to}});
      config::AttentionConfig attention = before.spec.config.attention;
      attention.kind = to;
      const checkpoint::Snapshot after = checkpoint::with_attention(before, attention);
      EXPECT_EQ(loaded.model->spec().config.attention.kind, to);
      ASSERT_EQ(loaded.model->parameters().parameters().size(), after.flat.layout.size());
      for (const model::Parameter& parameter : after.flat.layout) {
        EXPECT_TRUE(loaded.model->parameters()
                        .master(parameter.spec.name)
                        .equal(model::ParameterStore::view_of(after.flat.master, parameter)))
            << parameter.spec.name;
      }
    }
  }
}

TEST_F(Loading, ASwapStartsSByTheTrainedLengthWhateverTheWindows) {
  const LoadedModel loaded =
      load_model(write(Kind::kSoftmax), {.sequence_length = kLong, .overrides = {.attention = Kind::kSsmax}});
  double mean_log = 0.0;
  for (int64_t n = 1; n <= kTrainedLength; ++n) {
    mean_log += std::log(static_cast<double>(n)) / static_cast<double>(kTrainedLength);
  }
  EXPECT_NEAR(loaded.model->mean_attention_scales().at(1), 1.0 / mean_log, 1e-7);  // one rounding to fp32
}

TEST_F(Loading, ALearnedPositionIsReadShortenedOrExtended) {
  const auto path = write(Kind::kLearnedPn);
  const LoadedModel trained = load_model(path, {});
  const at::Tensor table = trained.model->parameters().master(kPosition);
  EXPECT_FALSE(trained.pn_fit.has_value());

  const LoadedModel shorter = load_model(path, {.sequence_length = 5, .overrides = {.extend_pn = true}});
  EXPECT_FALSE(shorter.pn_fit.has_value());
  EXPECT_TRUE(shorter.model->parameters().master(kPosition).equal(table.narrow(0, 0, 5)));

  const std::string refusal =
      message_of<core::UsageError>([&] { load_model(path, {.sequence_length = kTrainedLength + 1}); });
  EXPECT_THAT(refusal, HasSubstr("up to 11 tokens, not 12"));
  EXPECT_THAT(refusal, HasSubstr("--extend-pn fit"));

  const LoadedModel longer = load_model(path, {.sequence_length = kLong, .overrides = {.extend_pn = true}});
  const at::Tensor extended = longer.model->parameters().master(kPosition);
  EXPECT_EQ(extended.numel(), kLong);
  EXPECT_TRUE(extended.narrow(0, 0, kTrainedLength).equal(table));
  ASSERT_TRUE(longer.pn_fit.has_value());
  EXPECT_EQ(longer.pn_fit->entries, kTrainedLength);
  for (int64_t n = kTrainedLength + 1; n <= kLong; ++n) {
    const double line = longer.pn_fit->a1 * std::log(static_cast<double>(n)) + longer.pn_fit->a2;
    EXPECT_EQ(extended[n - 1].item<float>(), static_cast<float>(line)) << n;
  }
}

TEST_F(Loading, OtherKindsNeedNoExtension) {
  for (const Kind kind : model::all_kinds()) {
    if (kind == Kind::kLearnedPn) continue;
    const LoadedModel loaded =
        load_model(write(kind), {.sequence_length = kLong, .overrides = {.extend_pn = true}});
    EXPECT_FALSE(loaded.pn_fit.has_value());
    EXPECT_EQ(loaded.model->spec().sequence_length, kLong);
  }
}

TEST_F(Loading, RefusesNumbersOutOfRange) {
  const auto path = write(Kind::kSoftmax);
  const auto refusal = [&](const Overrides& overrides) {
    return message_of<core::UsageError>([&] { load_model(path, {.overrides = overrides}); });
  };
  for (const double bad : {0.0, -1.0, std::numeric_limits<double>::infinity(), std::nan("")}) {
    EXPECT_THAT(refusal({.rope_theta = bad}), HasSubstr("theta must be a finite number above 0"));
    EXPECT_THAT(refusal({.row_scale = bad}), HasSubstr("row scale must be a finite number above 0"));
    EXPECT_THAT(refusal({.yarn_factor = bad}), HasSubstr("factor must be a finite number, at least 1"));
  }
  EXPECT_THAT(refusal({.yarn_factor = 0.99}), HasSubstr("--yarn 0.99: YaRN's factor"));
  EXPECT_THAT(refusal({.rope_theta = 1.0, .yarn_factor = 2.0}), HasSubstr("theta above 1, not 1"));
}

TEST(FitPosition, FindsALineAndWhatItLeaves) {
  std::vector<float> line;
  for (int n = 1; n <= 100; ++n) line.push_back(static_cast<float>(0.25 * std::log(n) + 3.0));
  const PnFit exact = fit_position(line);
  // Entries are rounded to fp32: 1.2e-7 of 4 at most.
  EXPECT_NEAR(exact.a1, 0.25, 1e-6);
  EXPECT_NEAR(exact.a2, 3.0, 1e-6);
  EXPECT_LT(exact.max_residual, 5e-7);
  EXPECT_EQ(exact.entries, 100);

  // Computed by hand: log n is 0, L, 2 L for n = 1, 2, 4; for n = 1 ... 4 all values are 0 except p_2 = 1.
  const std::vector<float> bump = {0.0F, 1.0F, 0.0F, 0.0F};
  const double logs[] = {0.0, std::log(2.0), std::log(3.0), std::log(4.0)};
  const double sum = logs[1] + logs[2] + logs[3];
  const double squares = logs[1] * logs[1] + logs[2] * logs[2] + logs[3] * logs[3];
  // The normal equations: squares a1 + sum a2 = log 2, sum a1 + 4 a2 = 1, by Cramer's rule.
  const double determinant = 4.0 * squares - sum * sum;
  const double a1 = (4.0 * logs[1] - sum) / determinant;
  const double a2 = (squares - sum * logs[1]) / determinant;
  const PnFit fit = fit_position(bump);
  EXPECT_NEAR(fit.a1, a1, 1e-12);
  EXPECT_NEAR(fit.a2, a2, 1e-12);
  double sum_of_squares = 0.0;
  double largest = 0.0;
  for (size_t i = 0; i < 4; ++i) {
    const double residual = static_cast<double>(bump[i]) - a1 * logs[i] - a2;
    sum_of_squares += residual * residual;
    largest = std::max(largest, std::abs(residual));
  }
  EXPECT_NEAR(fit.rms_residual, std::sqrt(sum_of_squares / 4.0), 1e-12);
  EXPECT_NEAR(fit.max_residual, largest, 1e-12);
  EXPECT_THROW(fit_position({bump.data(), 1}), core::InternalError);
}

}  // namespace
}  // namespace ssgpt::evaluation
