#include "evaluation/repeating_model.h"

#include <cmath>
#include <string>

#include <ATen/core/Tensor.h>

namespace ssgpt::evaluation {

model::GPTSpec repeating_spec(int64_t vocab_size, int64_t hidden_size, int64_t longest) {
  model::GPTSpec spec;
  spec.config.vocab_size = vocab_size;
  spec.config.hidden_size = hidden_size;
  spec.config.num_hidden_layers = 1;
  spec.config.num_attention_heads = 1;
  spec.config.intermediate_size = 8;
  spec.config.rope_theta = 100.0;
  spec.sequence_length = longest;
  return spec;
}

// The scores depend on the distance alone: queries and keys are the same at all positions until RoPE turns
// them, queries `distance` steps behind.
void set_repeating(model::GPT& gpt, int64_t distance) {
  model::ParameterStore& store = gpt.parameters();
  const config::ModelConfig& config = gpt.spec().config;
  const int64_t vocab = config.vocab_size;
  const auto hidden = static_cast<double>(config.hidden_size);
  const double before = std::sqrt(2.0 / hidden + config.rms_norm_eps);  // of the token and the one
  const double after = std::sqrt(3.0 / hidden + config.rms_norm_eps);   // and the repeated token
  const auto set = [&](const std::string& name, int64_t row, int64_t column, double value) {
    const at::Tensor matrix = store.master(name);
    matrix.mutable_data_ptr<float>()[row * matrix.size(1) + column] = static_cast<float>(value);
  };
  const std::string attention = "model.layers.0.self_attn.";
  store.master("model.layers.0.input_layernorm.weight").fill_(1.0);
  store.master("model.norm.weight").fill_(1.0);
  const int64_t one = vocab;
  const int64_t repeated = vocab + 1;
  for (int64_t v = 0; v < vocab; ++v) {
    set("model.embed_tokens.weight", v, v, 1.0);
    set("model.embed_tokens.weight", v, one, 1.0);
    set(attention + "v_proj.weight", v, v, before);
    set(attention + "o_proj.weight", repeated + v, v, 1.0);
    set("lm_head.weight", v, repeated + v, kRepeatedLogit * after);
  }
  const int64_t half = config.hidden_size / 2;
  // The size of the squares that add up to a score: one step beside the distance the score is lower by 30 or
  // more, so that e^-30 of the attention goes elsewhere.
  constexpr double kSize = 13.0;
  for (int64_t i = 0; i < half; ++i) {
    const double frequency = std::pow(config.rope_theta, -2.0 * static_cast<double>(i) / hidden);
    const double angle = -static_cast<double>(distance) * frequency;
    set(attention + "q_proj.weight", i, one, kSize * std::cos(angle) * before);
    set(attention + "q_proj.weight", i + half, one, kSize * std::sin(angle) * before);
    set(attention + "k_proj.weight", i, one, kSize * before);
  }
  store.refresh_compute();
}

}  // namespace ssgpt::evaluation
