#include "model/block_weights.h"

#include "model/attention_kind.h"

#include <string>

#include <fmt/format.h>

namespace ssgpt::model {

BlockWeights bind_block_weights(const ParameterStore& store, const config::ModelConfig& config, int64_t layer,
                                const at::Tensor& log_table) {
  const std::string prefix = fmt::format("model.layers.{}.", layer);
  const std::string attention = fmt::format("{}self_attn.", prefix);
  const std::string mlp = fmt::format("{}mlp.", prefix);
  const at::Tensor compute = store.flat_compute();
  BlockWeights weights;
  weights.attention_norm = store.compute(prefix + "input_layernorm.weight");
  weights.attention.qkv = store.merged(
      compute, {attention + "q_proj.weight", attention + "k_proj.weight", attention + "v_proj.weight"});
  weights.attention.out = store.compute(attention + "o_proj.weight");
  weights.mlp_norm = store.compute(prefix + "post_attention_layernorm.weight");
  weights.mlp.gate_up = store.merged(compute, {mlp + "gate_proj.weight", mlp + "up_proj.weight"});
  weights.mlp.down = store.compute(mlp + "down_proj.weight");

  kernels::RowScale& row_scale = weights.attention.row_scale;
  const config::AttentionKind kind = config.attention.kind;
  if (has_row_scale(kind)) row_scale.position = log_table;
  if (has_scale(kind)) row_scale.scale = store.master(attention + "ssmax_scale");
  if (has_bias(kind)) row_scale.bias = store.master(attention + "ssmax_bias");
  if (has_learned_position(kind)) row_scale.position = store.master("model.ssmax_position");
  return weights;
}

}  // namespace ssgpt::model
