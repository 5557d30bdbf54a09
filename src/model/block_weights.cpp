#include "model/block_weights.h"

#include <string>
#include <vector>

#include <fmt/format.h>

namespace ssgpt::model {
namespace {

// Names of a layer's parameters, and of those that are merged into one matrix.
struct Names {
  explicit Names(int64_t layer)
      : prefix(fmt::format("model.layers.{}.", layer)),
        attention(fmt::format("{}self_attn.", prefix)),
        mlp(fmt::format("{}mlp.", prefix)) {}
  std::vector<std::string> qkv() const {
    return {attention + "q_proj.weight", attention + "k_proj.weight", attention + "v_proj.weight"};
  }
  std::vector<std::string> gate_up() const { return {mlp + "gate_proj.weight", mlp + "up_proj.weight"}; }
  std::string attention_norm() const { return prefix + "input_layernorm.weight"; }
  std::string mlp_norm() const { return prefix + "post_attention_layernorm.weight"; }
  std::string out() const { return attention + "o_proj.weight"; }
  std::string q_norm() const { return attention + "q_norm.weight"; }
  std::string k_norm() const { return attention + "k_norm.weight"; }
  std::string down() const { return mlp + "down_proj.weight"; }
  std::string scale() const { return attention + "ssmax_scale"; }
  std::string bias() const { return attention + "ssmax_bias"; }

  std::string prefix, attention, mlp;
};

constexpr const char* kLearnedPosition = "model.ssmax_position";  // shared by all layers

}  // namespace

BlockWeights bind_block_weights(const ParameterStore& store, const config::ModelConfig& config, int64_t layer,
                                const at::Tensor& position_table) {
  const Names names(layer);
  const at::Tensor compute = store.flat_compute();
  BlockWeights weights;
  weights.attention_norm = store.compute(names.attention_norm());
  weights.attention.qkv = store.merged(compute, names.qkv());
  weights.attention.out = store.compute(names.out());
  weights.mlp_norm = store.compute(names.mlp_norm());
  weights.attention.is_rotated = config::is_rotated(config, layer);
  if (config.qk_norm == config::QkNorm::kRms) {
    weights.attention.qk_norm = {.q_gain = store.compute(names.q_norm()),
                                 .k_gain = store.compute(names.k_norm()),
                                 .eps = config.rms_norm_eps,
                                 .raw = {}};
  }
  weights.mlp = {store.merged(compute, names.gate_up()), store.compute(names.down())};

  kernels::RowScale& row_scale = weights.attention.row_scale;
  const config::AttentionKind kind = config.attention.kind;
  if (has_row_scale(kind)) row_scale.position = position_table;
  if (has_scale(kind)) row_scale.scale = store.master(names.scale());
  if (has_bias(kind)) row_scale.bias = store.master(names.bias());
  if (has_learned_position(kind)) row_scale.position = store.master(kLearnedPosition);
  return weights;
}

BlockGradients bind_block_gradients(const ParameterStore& store, const config::ModelConfig& config,
                                    int64_t layer) {
  const Names names(layer);
  const at::Tensor grad = store.flat_grad();
  BlockGradients gradients;
  gradients.attention_norm = store.grad(names.attention_norm());
  gradients.attention.qkv = store.merged(grad, names.qkv());
  gradients.attention.out = store.grad(names.out());
  gradients.mlp_norm = store.grad(names.mlp_norm());
  if (config.qk_norm == config::QkNorm::kRms) {
    gradients.attention.q_norm = store.grad(names.q_norm());
    gradients.attention.k_norm = store.grad(names.k_norm());
  }
  gradients.mlp = {store.merged(grad, names.gate_up()), store.grad(names.down())};
  const config::AttentionKind kind = config.attention.kind;
  if (has_scale(kind)) gradients.attention.scale = store.grad(names.scale());
  if (has_bias(kind)) gradients.attention.bias = store.grad(names.bias());
  if (has_learned_position(kind)) gradients.attention.position = store.grad(kLearnedPosition);
  return gradients;
}

}  // namespace ssgpt::model
