#include "model/reference.h"

#include "model/support.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <utility>

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/cumsum.h>
#include <ATen/ops/embedding.h>
#include <ATen/ops/log_softmax.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/rsqrt.h>
#include <ATen/ops/sigmoid.h>
#include <ATen/ops/softmax.h>
#include <ATen/ops/zeros_like.h>
#include <fmt/format.h>
#include <gtest/gtest.h>

namespace ssgpt::model {
namespace {

// (B, T, T): whether the query of row i may attend to the key of column j.
at::Tensor visibility(const at::Tensor& tokens, const std::optional<int64_t>& document_token_id) {
  const int64_t time = tokens.size(1);
  at::Tensor visible = at::ones({tokens.size(0), time, time}, at::kBool).tril();
  if (document_token_id) {
    // A token's document is the number of document ends before it.
    const at::Tensor ends = (tokens == *document_token_id).to(at::kLong);
    const at::Tensor document = at::cumsum(ends, 1) - ends;
    visible = visible & (document.unsqueeze(2) == document.unsqueeze(1));
  }
  return visible;
}

}  // namespace

Reference::Reference(const GPTSpec& spec, const ParameterStore& store, at::ScalarType dtype)
    : spec_(spec), dtype_(dtype) {
  for (const Parameter& parameter : store.parameters()) {
    const std::string& name = parameter.spec.name;
    parameters_[name] = store.master(name).to(dtype).clone().requires_grad_();
  }
}

at::Tensor Reference::norm(const at::Tensor& x, const std::string& name) const {
  const at::Tensor mean_square = (x * x).mean(at::IntArrayRef{-1}, /*keepdim=*/true);
  return x * at::rsqrt(mean_square + spec_.config.rms_norm_eps) * weight(name);
}

// The first dimensions of each head; those behind them stay.
at::Tensor Reference::rotate(const at::Tensor& whole) const {  // (B, N, T, H)
  const int64_t dims = std::lround(spec_.config.rope_fraction * static_cast<double>(whole.size(3)));
  const at::Tensor x = whole.narrow(3, 0, dims);
  const at::Tensor index = at::arange(0, dims, 2, at::kDouble) / static_cast<double>(dims);
  const at::Tensor frequency = (index * -std::log(spec_.config.rope_theta)).exp();
  const at::Tensor half = at::arange(x.size(2), at::kDouble).unsqueeze(1) * frequency;
  const at::Tensor angle = at::cat({half, half}, 1);
  const at::Tensor turned = at::cat({-x.narrow(3, dims / 2, dims / 2), x.narrow(3, 0, dims / 2)}, 3);
  const at::Tensor rotated = x * angle.cos().to(dtype_) + turned * angle.sin().to(dtype_);
  return at::cat({rotated, whole.narrow(3, dims, whole.size(3) - dims)}, 3);
}

at::Tensor Reference::prepare(const at::Tensor& x, const std::string& norm_name, int64_t layer) const {
  const config::ModelConfig& config = spec_.config;
  const at::Tensor normed = config.qk_norm == config::QkNorm::kRms ? norm(x, norm_name) : x;
  const std::vector<int64_t>& nope = config.nope_layers.layers;
  return std::count(nope.begin(), nope.end(), layer) > 0 ? normed : rotate(normed);
}

// (B or 1, N or 1, T or 1): what multiplies each row of scores, for num_keys (B, T).
at::Tensor Reference::row_scale(const std::string& prefix, const at::Tensor& num_keys) const {
  using Kind = config::AttentionKind;
  const Kind kind = spec_.config.attention.kind;
  const at::Tensor log_n = num_keys.to(at::kDouble).log().to(dtype_).unsqueeze(1);
  const auto per_head = [&](const char* name) {
    return weight(prefix + name).view({1, -1, 1});
  };
  switch (kind) {
    case Kind::kSoftmax:
      return at::ones({1, 1, 1}, dtype_);
    case Kind::kSoftmaxTemperature:
      return per_head("ssmax_scale");
    case Kind::kSsmaxFixed:
      return log_n;
    case Kind::kSsmax:
      return per_head("ssmax_scale") * log_n;
    case Kind::kSsmaxBias:
      return per_head("ssmax_scale") * log_n + per_head("ssmax_bias");
    case Kind::kLognClamped: {
      const int64_t trained = spec_.trained_length.value_or(spec_.sequence_length);
      return (log_n / std::log(static_cast<double>(trained))).clamp_min(1.0);
    }
    case Kind::kLlama4Temperature: {
      const config::AttentionConfig& attention = spec_.config.attention;
      const at::Tensor periods = num_keys.div(attention.floor_scale.value_or(8192), "floor");
      return ((periods + 1).to(at::kDouble).log() * attention.attn_scale.value_or(0.1) + 1.0)
          .to(dtype_)
          .unsqueeze(1);
    }
    case Kind::kLearnedPn:
      break;
  }
  const at::Tensor p = weight("model.ssmax_position")
                           .index_select(0, num_keys.reshape({-1}) - 1)
                           .view(num_keys.sizes())
                           .unsqueeze(1);
  return per_head("ssmax_scale") * p + per_head("ssmax_bias");
}

at::Tensor Reference::attention(const at::Tensor& x, int64_t layer, const at::Tensor& visible,
                                std::vector<ReferenceAttention>* record) const {
  const std::string prefix = fmt::format("model.layers.{}.self_attn.", layer);
  const int64_t batch = x.size(0);
  const int64_t time = x.size(1);
  const int64_t heads = spec_.config.num_attention_heads;
  const int64_t head_dim = spec_.config.hidden_size / heads;
  const auto project = [&](const char* name) {
    return at::matmul(x, weight(prefix + name).t()).view({batch, time, heads, head_dim}).transpose(1, 2);
  };
  const at::Tensor q = prepare(project("q_proj.weight"), prefix + "q_norm.weight", layer);
  const at::Tensor k = prepare(project("k_proj.weight"), prefix + "k_norm.weight", layer);
  at::Tensor scores = at::matmul(q, k.transpose(2, 3)) / std::sqrt(static_cast<double>(head_dim));
  const at::Tensor factors =
      row_scale(prefix, visible.sum(at::IntArrayRef{2})) * spec_.rope_change.score_factor;
  scores = scores * factors.unsqueeze(3);
  scores = scores.masked_fill(visible.logical_not().unsqueeze(1), -std::numeric_limits<double>::infinity());
  const at::Tensor weights = at::softmax(scores, 3);
  if (record != nullptr) record->push_back({.weights = weights, .factors = factors});
  const at::Tensor mixed = at::matmul(weights, project("v_proj.weight"));
  return at::matmul(mixed.transpose(1, 2).reshape({batch, time, -1}), weight(prefix + "o_proj.weight").t());
}

at::Tensor Reference::forward(const at::Tensor& tokens, std::vector<ReferenceAttention>* record) const {
  const at::Tensor visible = visibility(tokens, spec_.document_token_id);
  at::Tensor x = at::embedding(weight("model.embed_tokens.weight"), tokens);
  for (int64_t layer = 0; layer < spec_.config.num_hidden_layers; ++layer) {
    const std::string prefix = fmt::format("model.layers.{}.", layer);
    x = x + attention(norm(x, prefix + "input_layernorm.weight"), layer, visible, record);
    const at::Tensor h = norm(x, prefix + "post_attention_layernorm.weight");
    const at::Tensor gate = at::matmul(h, weight(prefix + "mlp.gate_proj.weight").t());
    const at::Tensor up = at::matmul(h, weight(prefix + "mlp.up_proj.weight").t());
    x = x + at::matmul(gate * at::sigmoid(gate) * up, weight(prefix + "mlp.down_proj.weight").t());
  }
  return at::matmul(norm(x, "model.norm.weight"), weight("lm_head.weight").t());
}

at::Tensor Reference::logits(const at::Tensor& tokens) const {
  return forward(tokens, /*record=*/nullptr);
}

std::vector<ReferenceAttention> Reference::attentions(const at::Tensor& tokens) const {
  std::vector<ReferenceAttention> record;
  forward(tokens, &record);
  return record;
}

at::Tensor Reference::losses(const at::Tensor& tokens, const at::Tensor& targets) const {
  const at::Tensor log_p = at::log_softmax(logits(tokens), 2);
  const at::Tensor predicted = (targets >= 0).to(dtype_);
  return -log_p.gather(2, targets.clamp_min(0).unsqueeze(2)).squeeze(2) * predicted;
}

at::Tensor Reference::grad(const std::string& name) const {
  const at::Tensor& parameter = parameters_.at(name);
  return parameter.grad().defined() ? parameter.grad() : at::zeros_like(parameter);
}

void Bfloat16Errors::add(const std::string& name, const at::Tensor& ours, const at::Tensor& plain,
                         const at::Tensor& exact) {
  errors_[name].ours.push_back(relative_error(ours, exact));
  errors_[name].plain.push_back(relative_error(plain, exact));
  errors_[name].elements = exact.numel();
}

void Bfloat16Errors::add(const Reference& exact, const Reference& plain, const ParameterStore& parameters,
                         const Batch& batch, const std::function<at::Tensor(const std::string& name)>& ours) {
  add("logits", ours("logits"), plain.logits(batch.tokens), exact.logits(batch.tokens));
  add("losses", ours("losses"), plain.losses(batch.tokens, batch.targets),
      exact.losses(batch.tokens, batch.targets));
  for (const Parameter& parameter : parameters.parameters()) {
    const std::string& name = parameter.spec.name;
    add(name, ours(name), plain.grad(name), exact.grad(name));
  }
}

void Bfloat16Errors::expect_as_small_as_plain() const {
  const auto median = [](std::vector<double> values) {
    const auto middle = values.begin() + static_cast<int64_t>(values.size()) / 2;
    std::nth_element(values.begin(), middle, values.end());
    return *middle;
  };
  constexpr int64_t kFew = 64;
  double largest = 0.0;
  for (const auto& [name, errors] : errors_) largest = std::max(largest, median(errors.plain));
  EXPECT_GT(largest, 0.0);
  EXPECT_LT(largest, 0.5) << "the comparison says nothing";
  for (const auto& [name, errors] : errors_) {
    const double plain = errors.elements < kFew ? largest : median(errors.plain);
    EXPECT_LT(median(errors.ours), 2.0 * plain + 0x1p-8) << name;
  }
}

std::vector<Draw> bfloat16_draws() {
  constexpr std::array<std::pair<int64_t, int64_t>, 7> kSizes = {
      {{4, 11}, {3, 7}, {4, 11}, {1, 11}, {4, 11}, {5, 2}, {2, 1}}};
  std::vector<Draw> draws;
  for (uint64_t seed = 5; const auto& [rows, time] : kSizes) {
    draws.push_back(
        {.seed = seed, .batch = random_batch(rows, time, 7, seed + 1, /*with_negative_targets=*/true)});
    ++seed;
  }
  return draws;
}

void expect_specified(const GPTSpec& spec, const Batch& batch) {
  GPT gpt(spec, {});
  randomize(gpt.parameters(), 5);
  const Reference reference(spec, gpt.parameters(), at::kDouble);
  EXPECT_LT(relative_error(gpt.logits(batch.tokens), reference.logits(batch.tokens)), kFp32Tolerance);
  const at::Tensor expected = reference.losses(batch.tokens, batch.targets);
  expected.sum().backward();
  const at::Tensor loss_sum = zero_loss();
  gpt.forward_backward(batch.tokens, batch.targets, loss_sum);
  EXPECT_LT(relative_error(gpt.token_losses(batch.tokens, batch.targets), expected), kFp32Tolerance);
  EXPECT_NEAR(loss_sum.item<double>(), expected.sum().item<double>(),
              kFp32Tolerance * expected.sum().item<double>());
  for (const Parameter& parameter : gpt.parameters().parameters()) {
    const std::string& name = parameter.spec.name;
    EXPECT_LT(relative_error(gpt.parameters().grad(name), reference.grad(name)), kFp32GradientTolerance)
        << name;
  }
}

}  // namespace ssgpt::model
