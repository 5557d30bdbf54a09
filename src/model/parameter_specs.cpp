// The parameters of a model under Hugging Face's names (Llama's, and Qwen 3's for the query/key norms), and
// their initial values.

#include "core/check.h"
#include "model/gpt.h"

#include <cmath>
#include <string>
#include <utility>

#include <fmt/format.h>

namespace ssgpt::model {
namespace {

constexpr Initializer constant(double value) {
  return {Initializer::Kind::kConstant, value};
}
constexpr Initializer normal(double deviation) {
  return {Initializer::Kind::kNormal, deviation};
}

// Spec of a row scale parameter.
ParameterSpec row_scale_spec(std::string name, int64_t size, Initializer initializer) {
  return {.name = std::move(name), .shape = {size}, .initializer = initializer, .of_row_scale = true};
}

// Appends the parameters of one block. scale_init: initial s, for kinds that have one.
void add_block(const config::ModelConfig& config, double scale_init, int64_t layer,
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
  if (config.qk_norm == config::QkNorm::kRms) {
    add("self_attn.q_norm.weight", {config::head_dim(config)}, constant(1.0));
    add("self_attn.k_norm.weight", {config::head_dim(config)}, constant(1.0));
  }
  if (has_scale(config.attention.kind)) {
    specs.push_back(
        row_scale_spec(fmt::format("{}self_attn.ssmax_scale", prefix), heads, constant(scale_init)));
  }
  if (has_bias(config.attention.kind)) {
    const Initializer bias = constant(config.attention.bias_init);
    specs.push_back(row_scale_spec(fmt::format("{}self_attn.ssmax_bias", prefix), heads, bias));
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
  // Ordered so that backward finishes the gradients in reverse order: p_n is used by every layer, so it
  // precedes the first.
  std::vector<ParameterSpec> specs;
  const Initializer embedding = normal(config.initializer_range);
  specs.push_back({"model.embed_tokens.weight", {config.vocab_size, config.hidden_size}, embedding});
  if (has_learned_position(config.attention.kind)) {
    const Initializer position = config.attention.pn_init == config::PnInit::kFlat
                                     ? constant(config::mean_position(config.attention, sequence_length))
                                     : Initializer{Initializer::Kind::kLogPosition, 0.0};
    specs.push_back(row_scale_spec("model.ssmax_position", sequence_length, position));
  }
  const double scale_init =
      has_scale(config.attention.kind) ? config::resolved_scale_init(config.attention, sequence_length) : 0.0;
  for (int64_t layer = 0; layer < config.num_hidden_layers; ++layer) {
    add_block(config, scale_init, layer, specs);
  }
  specs.push_back({"model.norm.weight", {config.hidden_size}, constant(1.0)});
  specs.push_back({"lm_head.weight", {config.vocab_size, config.hidden_size}, embedding});
  return specs;
}

}  // namespace ssgpt::model
