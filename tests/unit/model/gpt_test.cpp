// The whole model against the specification in reference.h.

#include "model/gpt.h"

#include "core/check.h"
#include "model/reference.h"
#include "model/support.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <map>
#include <string>
#include <tuple>
#include <vector>

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <fmt/format.h>
#include <gtest/gtest.h>

namespace ssgpt::model {
namespace {

using Kind = config::AttentionKind;

class WholeModel : public testing::TestWithParam<Variant> {};

// Texts of 4, 5 and 2 tokens in a row of 11 against each in a window of its own: with the numbers of keys
// given, none sees its neighbours, and positions and n begin anew.
TEST(RowsOfSeveralTexts, EachTextIsAsItWouldBeAlone) {
  const std::vector<int64_t> lengths = {4, 5, 2};
  std::vector<Variant> variants = variants_of_options();
  for (const Kind kind : all_kinds()) variants.push_back({.kind = kind});
  for (Variant& variant : variants) {
    variant.documents = false;
    const GPTSpec spec = variant.spec();
    const Batch batch = random_batch(2, 11, 37, 8, /*with_negative_targets=*/true);
    GPT gpt(spec, {});
    randomize(gpt.parameters(), 5);
    const Reference reference(spec, gpt.parameters(), at::kDouble);
    std::vector<at::Tensor> parts, keys;
    for (int64_t first = 0, i = 0; i < 3; first += lengths[static_cast<size_t>(i++)]) {
      const int64_t length = lengths[static_cast<size_t>(i)];
      parts.push_back(reference.losses(batch.tokens.narrow(1, first, length).contiguous(),
                                       batch.targets.narrow(1, first, length).contiguous()));
      keys.push_back(at::arange(1, length + 1, at::kInt));
    }
    const at::Tensor expected = at::cat(parts, 1);
    expected.sum().backward();
    const at::Tensor num_keys = at::cat(keys).repeat({2, 1});
    const at::Tensor loss_sum = zero_loss();
    gpt.forward_backward(batch.tokens, batch.targets, loss_sum, nullptr, num_keys);
    EXPECT_LT(relative_error(gpt.token_losses(batch.tokens, batch.targets, num_keys), expected),
              kFp32Tolerance);
    EXPECT_NEAR(loss_sum.item<double>(), expected.sum().item<double>(),
                kFp32Tolerance * expected.sum().item<double>());
    for (const Parameter& parameter : gpt.parameters().parameters()) {
      const std::string& name = parameter.spec.name;
      EXPECT_LT(relative_error(gpt.parameters().grad(name), reference.grad(name)), kFp32GradientTolerance)
          << to_string(variant) << " " << name;
    }
    // The next batch without such numbers is of whole windows again.
    EXPECT_LT(relative_error(gpt.token_losses(batch.tokens, batch.targets),
                             reference.losses(batch.tokens, batch.targets)),
              kFp32Tolerance);
  }
}

TEST_P(WholeModel, MatchesTheSpecification) {
  const GPTSpec spec = GetParam().spec();
  // 7 tokens only, so that documents end often. Odd sizes, and T below the longest window.
  expect_specified(spec, random_batch(3, 7, 7, 1, /*with_negative_targets=*/true));
  expect_specified(spec, random_batch(1, 11, 7, 2));
  expect_specified(spec, random_batch(5, 2, 7, 3));
}

TEST_P(WholeModel, MatchesWhereNoSizeIsAligned) {
  GPTSpec spec = GetParam().spec();
  spec.config.hidden_size = spec.config.rope_fraction == 1.0 ? 6 : 12;  // two dimensions are rotated
  spec.config.intermediate_size = 5;
  spec.config.vocab_size = 9;
  expect_specified(spec, random_batch(3, 9, 7, 4, /*with_negative_targets=*/true));
}

TEST_P(WholeModel, Bfloat16IsAsCloseAsItsRoundingAllows) {
  const GPTSpec spec = GetParam().spec();
  Bfloat16Errors errors;
  for (const auto& [seed, batch] : bfloat16_draws()) {
    GPT gpt(spec, {.device = at::kCPU, .dtype = at::kBFloat16});
    randomize(gpt.parameters(), seed);
    // The bf16_copy is what it computes with; s, b and p_n stay fp32.
    ParameterStore rounded(parameter_specs(spec.config, spec.sequence_length), at::kCPU, at::kFloat);
    rounded.flat_master().copy_(gpt.parameters().flat_master());
    for (const Parameter& parameter : rounded.parameters()) {
      const std::string& name = parameter.spec.name;
      if (name.find("ssmax") == std::string::npos) rounded.master(name).copy_(gpt.parameters().compute(name));
    }
    const Reference exact(spec, rounded, at::kDouble);
    const Reference plain(spec, rounded, at::kBFloat16);
    exact.losses(batch.tokens, batch.targets).sum().backward();
    plain.losses(batch.tokens, batch.targets).sum().backward();
    gpt.forward_backward(batch.tokens, batch.targets, zero_loss());
    errors.add(exact, plain, rounded, batch, [&, &batch = batch](const std::string& name) {
      if (name == "logits") return gpt.logits(batch.tokens);
      return name == "losses" ? gpt.token_losses(batch.tokens, batch.targets) : gpt.parameters().grad(name);
    });
  }
  errors.expect_as_small_as_plain();
}

TEST_P(WholeModel, TwoMicroBatchesAddUpToOneBatch) {
  GPT gpt(GetParam().spec(), {});
  randomize(gpt.parameters(), 7);
  const Batch first = random_batch(2, 9, 7, 8, /*with_negative_targets=*/true);
  const Batch second = random_batch(2, 9, 7, 9);
  const at::Tensor both = zero_loss();
  gpt.forward_backward(at::cat({first.tokens, second.tokens}), at::cat({first.targets, second.targets}),
                       both);
  const at::Tensor expected = gpt.parameters().flat_grad().clone();
  gpt.parameters().flat_grad().zero_();
  const at::Tensor sum = zero_loss();
  gpt.forward_backward(first.tokens, first.targets, sum);
  gpt.forward_backward(second.tokens, second.targets, sum);
  EXPECT_NEAR(sum.item<double>(), both.item<double>(), 1e-6 * both.item<double>());
  EXPECT_LT(relative_error(gpt.parameters().flat_grad(), expected), 1e-6);  // fp32 sums in another order
}

// x + 0 is x: the same numbers, but for the sign of a zero, as from a gradient of zeros.
TEST_P(WholeModel, OverwritesWhateverTheGradientHeld) {
  const Batch first = random_batch(2, 9, 7, 8, /*with_negative_targets=*/true);
  const Batch second = random_batch(3, 7, 7, 9);
  for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
    GPT zeroed(GetParam().spec(), {.dtype = dtype});
    GPT stale(GetParam().spec(), {.dtype = dtype});
    for (GPT* gpt : {&zeroed, &stale}) randomize(gpt->parameters(), 7);
    stale.parameters().flat_grad().fill_(std::numeric_limits<double>::quiet_NaN());
    zeroed.forward_backward(first.tokens, first.targets, zero_loss());
    stale.forward_backward(first.tokens, first.targets, zero_loss(), nullptr, {}, GradientMode::kOverwrite);
    EXPECT_TRUE(stale.parameters().flat_grad().equal(zeroed.parameters().flat_grad()));
    for (GPT* gpt : {&zeroed, &stale}) gpt->forward_backward(second.tokens, second.targets, zero_loss());
    EXPECT_TRUE(stale.parameters().flat_grad().equal(zeroed.parameters().flat_grad()));
  }
}

TEST_P(WholeModel, RepeatsBitForBitAndKeepsPaddingZero) {
  const Batch batch = random_batch(4, 11, 7, 10);
  const Batch other = random_batch(1, 5, 7, 11);
  GPT gpt(GetParam().spec(), {});
  randomize(gpt.parameters(), 7);
  gpt.forward_backward(batch.tokens, batch.targets, zero_loss());
  const at::Tensor first = gpt.parameters().flat_grad().clone();
  gpt.token_losses(other.tokens, other.targets);  // another shape in between leaves no trace
  gpt.parameters().flat_grad().zero_();
  gpt.forward_backward(batch.tokens, batch.targets, zero_loss());
  const at::Tensor& second = gpt.parameters().flat_grad();
  EXPECT_EQ(std::memcmp(first.const_data_ptr(), second.const_data_ptr(), first.nbytes()), 0);

  for (const Parameter& parameter : gpt.parameters().parameters()) {
    ParameterStore::view_of(second, parameter).zero_();
  }
  EXPECT_EQ(second.abs().max().item<float>(), 0.0f);
}

INSTANTIATE_TEST_SUITE_P(Kinds, WholeModel, testing::ValuesIn(plain_variants()),
                         [](const auto& variant) { return to_string(variant.param); });
INSTANTIATE_TEST_SUITE_P(Options, WholeModel, testing::ValuesIn(variants_of_options()),
                         [](const auto& variant) { return to_string(variant.param); });

class FiniteDifferences : public testing::TestWithParam<Variant> {};

TEST_P(FiniteDifferences, MatchTheGradients) {
  GPT gpt(GetParam().spec(), {});
  randomize(gpt.parameters(), 12);
  const Batch batch = random_batch(3, 9, 37, 13);
  gpt.forward_backward(batch.tokens, batch.targets, zero_loss());
  const auto loss = [&] {
    return gpt.token_losses(batch.tokens, batch.targets).sum(at::kDouble).item<double>();
  };
  const std::string attention = "model.layers.1.self_attn.";
  for (const std::string& name :
       {attention + "ssmax_scale", attention + "ssmax_bias", std::string("model.ssmax_position"),
        attention + "q_norm.weight", attention + "k_norm.weight", attention + "q_proj.weight",
        std::string("model.layers.0.mlp.up_proj.weight"), std::string("model.embed_tokens.weight"),
        std::string("model.norm.weight")}) {
    if (!gpt.parameters().contains(name)) continue;
    const at::Tensor grad = gpt.parameters().grad(name).view({-1});
    const int64_t index = grad.abs().argmax().item<int64_t>();
    float& value = gpt.parameters().master(name).view({-1}).mutable_data_ptr<float>()[index];
    const float start = value;
    const double expected = grad[index].item<double>();
    // The loss, about 100 in fp32, changes by up to 0.04: rounding leaves 1e-5 / 0.04 of the quotient, and
    // the third derivative, large where log n multiplies the scores, adds less than a hundredth.
    const auto step = static_cast<float>(std::min(0.01, 0.02 / std::abs(expected)));
    value = start + step;
    const double above = loss();
    value = start - step;
    const double below = loss();
    value = start;
    EXPECT_NEAR((above - below) / (2.0 * static_cast<double>(step)), expected,
                1e-2 * std::abs(expected) + 2e-3)
        << name;
  }
}
INSTANTIATE_TEST_SUITE_P(Kinds, FiniteDifferences, testing::ValuesIn(plain_variants()),
                         [](const auto& variant) { return to_string(variant.param); });
INSTANTIATE_TEST_SUITE_P(Options, FiniteDifferences, testing::ValuesIn(variants_of_options()),
                         [](const auto& variant) { return to_string(variant.param); });

// A row scale in front of the norm would be divided out: twice the scale would be the same scores.
TEST(QkNorm, LeavesTheRowScaleItsEffect) {
  const Batch batch = random_batch(3, 11, 37, 14);
  for (const Kind kind : {Kind::kSoftmaxTemperature, Kind::kSsmax}) {
    Variant variant = {.kind = kind, .qk_norm = config::QkNorm::kRms};
    GPT gpt(variant.spec(), {});
    randomize(gpt.parameters(), 15);
    const at::Tensor before = gpt.logits(batch.tokens);
    for (const char* layer : {"0", "1"})
      gpt.parameters().master(fmt::format("model.layers.{}.self_attn.ssmax_scale", layer)).mul_(2.0);
    EXPECT_GT(relative_error(gpt.logits(batch.tokens), before), 0.05) << config::to_string(kind);
    // While the size of the query is what the norm takes out.
    for (const char* layer : {"0", "1"}) {
      gpt.parameters().master(fmt::format("model.layers.{}.self_attn.ssmax_scale", layer)).div_(2.0);
      gpt.parameters().master(fmt::format("model.layers.{}.self_attn.q_proj.weight", layer)).mul_(4.0);
    }
    // But for epsilon, 1e-5 beside mean squares of about 2, of which a sixteenth is left.
    EXPECT_LT(relative_error(gpt.logits(batch.tokens), before), 1e-3) << config::to_string(kind);
  }
}

TEST(NopeLayers, SeeTheSameWhereverTokensStand) {
  // One layer without positions: the last of a row of tokens gets the same from any order of those before it.
  GPTSpec spec = small_spec(Kind::kSsmax);
  spec.config.num_hidden_layers = 1;
  spec.config.nope_layers.layers = {0};
  GPT gpt(spec, {});
  randomize(gpt.parameters(), 16);
  const at::Tensor tokens = random_batch(1, 11, 37, 17).tokens;
  const at::Tensor turned = at::cat({tokens.narrow(1, 0, 10).flip({1}), tokens.narrow(1, 10, 1)}, 1);
  const auto last = [&](const at::Tensor& of) {
    return gpt.logits(of).select(1, 10);
  };
  EXPECT_LT(relative_error(last(turned), last(tokens)), kFp32Tolerance);
  spec.config.nope_layers.layers = {};
  GPT rotated(spec, {});
  randomize(rotated.parameters(), 16);
  EXPECT_GT(relative_error(rotated.logits(turned).select(1, 10), rotated.logits(tokens).select(1, 10)), 0.01);
}

TEST(Gpt, RowScaleOfOneIsSoftmaxBitForBit) {
  const Batch batch = random_batch(3, 11, 37, 14);
  GPT softmax(small_spec(Kind::kSoftmax), {});
  randomize(softmax.parameters(), 15);
  softmax.forward_backward(batch.tokens, batch.targets, zero_loss());
  // 1, p = 1 in 1 * p + 0, 0 * log n + 1, and log n / log T up to T.
  for (const auto& [kind, s, b] :
       {std::tuple{Kind::kSoftmaxTemperature, 1.0, 0.0}, std::tuple{Kind::kLearnedPn, 1.0, 0.0},
        std::tuple{Kind::kSsmaxBias, 0.0, 1.0}, std::tuple{Kind::kLognClamped, 1.0, 0.0}}) {
    GPT gpt(small_spec(kind), {});
    randomize(gpt.parameters(), 15);
    for (const char* layer : {"0", "1"}) {
      const std::string prefix = std::string("model.layers.") + layer + ".self_attn.";
      for (const auto& [name, value] : {std::pair{"ssmax_scale", s}, std::pair{"ssmax_bias", b}}) {
        if (gpt.parameters().contains(prefix + name)) gpt.parameters().master(prefix + name).fill_(value);
      }
    }
    if (kind == Kind::kLearnedPn) gpt.parameters().master("model.ssmax_position").fill_(1.0);
    EXPECT_TRUE(gpt.logits(batch.tokens).equal(softmax.logits(batch.tokens)));
    gpt.forward_backward(batch.tokens, batch.targets, zero_loss());
    for (const Parameter& parameter : softmax.parameters().parameters()) {
      const std::string& name = parameter.spec.name;
      EXPECT_TRUE(gpt.parameters().grad(name).equal(softmax.parameters().grad(name))) << name;
    }
  }
}

TEST(Gpt, WithoutAGradientComputesTheSame) {
  const Batch batch = random_batch(3, 11, 37, 14, /*with_negative_targets=*/true);
  for (const Kind kind : {Kind::kSoftmax, Kind::kLearnedPn}) {
    for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
      GPT training(small_spec(kind), {.device = at::kCPU, .dtype = dtype});
      GPT reading(small_spec(kind), {.device = at::kCPU, .dtype = dtype, .for_training = false});
      randomize(training.parameters(), 15);
      randomize(reading.parameters(), 15);
      training.forward_backward(batch.tokens, batch.targets, zero_loss());
      EXPECT_FALSE(reading.parameters().flat_grad().defined());
      EXPECT_TRUE(reading.token_losses(batch.tokens, batch.targets)
                      .equal(training.token_losses(batch.tokens, batch.targets)));
      EXPECT_THROW(reading.forward_backward(batch.tokens, batch.targets, zero_loss()), core::InternalError);
    }
  }
}

TEST(Gpt, MeanScalesAreThoseOfEachLayer) {
  GPT gpt(small_spec(Kind::kSsmax), {});
  gpt.parameters().initialize(1);
  gpt.parameters().master("model.layers.1.self_attn.ssmax_scale").fill_(0.75);
  const std::vector<double> means = gpt.mean_attention_scales();
  ASSERT_EQ(means.size(), 2u);
  EXPECT_NEAR(means[0], config::resolved_scale_init({.kind = Kind::kSsmax, .scale_init = {}}, 11),
              1e-6);  // fp32
  EXPECT_EQ(means[1], 0.75);
  EXPECT_TRUE(GPT(small_spec(Kind::kSsmaxFixed), {}).mean_attention_scales().empty());
}

TEST(Gpt, RefusesWindowsAndTokensOutOfRange) {
  GPT gpt(small_spec(Kind::kSsmax), {});
  gpt.parameters().initialize(1);
  const Batch too_long = random_batch(1, 12, 37, 1);
  EXPECT_THROW(gpt.logits(too_long.tokens), core::InternalError);
  const Batch batch = random_batch(1, 5, 37, 1);
  batch.tokens.mutable_data_ptr<int64_t>()[4] = 37;
  EXPECT_THROW(gpt.logits(batch.tokens), core::InternalError);
}

}  // namespace
}  // namespace ssgpt::model
