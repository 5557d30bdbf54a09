// Which parameters a model has, under Hugging Face's Llama names, and how each starts.

#include "core/check.h"
#include "model/attention_kind.h"
#include "model/gpt.h"

#include <cmath>
#include <string>

#include <fmt/format.h>

namespace ssgpt::model {
namespace {

constexpr Initializer constant(double value) {
  return {Initializer::Kind::kConstant, value};
}
constexpr Initializer normal(double deviation) {
  return {Initializer::Kind::kNormal, deviation};
}

// Appends the parameters of one block.
void add_block(const config::ModelConfig& config, int64_t sequence_length, int64_t layer,
               std::vector<ParameterSpec>& specs) {
  const int64_t hidden = config.hidden_size;
  const int64_t ff = config.intermediate_size;
  const int64_t heads = config.num_attention_heads;
  const std::string prefix = fmt::format("model.layers.{}.", layer);
  const Initializer weight = normal(config.initializer_range);
  // Each block adds two branches to the residual stream: this keeps its variance from growing with depth
  // (GPT-2).
  const Initializer residual_weight =
      normal(config.initializer_range / std::sqrt(2.0 * static_cast<double>(config.num_hidden_layers)));
  const auto add = [&](const char* name, std::vector<int64_t> shape, Initializer initializer,
                       bool adjoins_previous = false) {
    specs.push_back({prefix + name, std::move(shape), initializer, adjoins_previous});
  };
  add("input_layernorm.weight", {hidden}, constant(1.0));
  add("self_attn.q_proj.weight", {hidden, hidden}, weight);
  add("self_attn.k_proj.weight", {hidden, hidden}, weight, /*adjoins_previous=*/true);
  add("self_attn.v_proj.weight", {hidden, hidden}, weight, /*adjoins_previous=*/true);
  if (has_scale(config.attention.kind)) {
    const double scale = config::resolved_scale_init(config.attention, sequence_length);
    add("self_attn.ssmax_scale", {heads}, constant(scale));
  }
  if (has_bias(config.attention.kind)) {
    add("self_attn.ssmax_bias", {heads}, constant(config.attention.bias_init));
  }
  add("self_attn.o_proj.weight", {hidden, hidden}, residual_weight);
  add("post_attention_layernorm.weight", {hidden}, constant(1.0));
  add("mlp.gate_proj.weight", {ff, hidden}, weight);
  add("mlp.up_proj.weight", {ff, hidden}, weight, /*adjoins_previous=*/true);
  add("mlp.down_proj.weight", {hidden, ff}, residual_weight);
}

}  // namespace

std::vector<ParameterSpec> parameter_specs(const config::ModelConfig& config, int64_t sequence_length) {
  SSGPT_CHECK(config.num_attention_heads > 0 && config.hidden_size % (2 * config.num_attention_heads) == 0,
              "hidden_size {} over {} heads is not an even head dimension", config.hidden_size,
              config.num_attention_heads);
  // In an order whose reverse is that in which backward finishes the gradients: p_n serves every layer, so it
  // stands before the first.
  std::vector<ParameterSpec> specs;
  const Initializer embedding = normal(config.initializer_range);
  specs.push_back({"model.embed_tokens.weight", {config.vocab_size, config.hidden_size}, embedding});
  if (has_learned_position(config.attention.kind)) {
    specs.push_back({"model.ssmax_position", {sequence_length}, {Initializer::Kind::kLogPosition, 0.0}});
  }
  for (int64_t layer = 0; layer < config.num_hidden_layers; ++layer) {
    add_block(config, sequence_length, layer, specs);
  }
  specs.push_back({"model.norm.weight", {config.hidden_size}, constant(1.0)});
  specs.push_back({"lm_head.weight", {config.vocab_size, config.hidden_size}, embedding});
  return specs;
}

}  // namespace ssgpt::model
