#include "model/attention.h"

#include "model/linear.h"

namespace ssgpt::model {
namespace {

// qkv as (B, T, 3, N, H): a view.
at::Tensor split_heads(const at::Tensor& qkv, const AttentionContext& context) {
  return qkv.view({context.batch, context.time, 3, context.num_heads, -1});
}

// (M, D) as (B, T, N, H): a view.
at::Tensor by_head(const at::Tensor& x, const AttentionContext& context) {
  return x.view({context.batch, context.time, context.num_heads, -1});
}

}  // namespace

void attention_forward(const at::Tensor& x, const AttentionWeights& weights, const AttentionContext& context,
                       const AttentionActivations& activations, const AttentionScratch& scratch,
                       const at::Tensor& out) {
  linear_forward(x, weights.qkv, activations.qkv);
  const at::Tensor qkv = split_heads(activations.qkv, context);
  kernels::rope_forward(qkv, context.rope.cos, context.rope.sin, context.num_keys, weights.row_scale);
  kernels::attention_forward(qkv, context.num_keys, scratch.workspace, by_head(activations.heads, context),
                             activations.logsumexp);
  linear_forward(activations.heads, weights.out, out);
}

void attention_backward(const at::Tensor& d_out, const at::Tensor& x, const AttentionWeights& weights,
                        const AttentionContext& context, const AttentionActivations& activations,
                        const AttentionGradients& gradients, const AttentionScratch& scratch,
                        const at::Tensor& d_x) {
  linear_backward_weight(d_out, activations.heads, gradients.out, scratch.weight);
  linear_backward_input(d_out, weights.out, scratch.d_heads);

  const at::Tensor qkv = split_heads(activations.qkv, context);
  const at::Tensor d_qkv = split_heads(scratch.d_qkv, context);
  kernels::attention_backward(by_head(scratch.d_heads, context), qkv, by_head(activations.heads, context),
                              activations.logsumexp, context.num_keys, scratch.workspace, d_qkv);
  const auto part = [&d_qkv](int64_t index) {
    return d_qkv.select(2, index).transpose(1, 2);
  };
  kernels::rope_backward(part(0), part(1), part(2), context.rope.cos, context.rope.sin, context.num_keys,
                         weights.row_scale, qkv, scratch.d_row_scale);
  if (!weights.row_scale.identity()) {
    kernels::row_scale_backward(scratch.d_row_scale, context.num_keys, weights.row_scale, gradients.scale,
                                gradients.bias, gradients.position);
  }
  linear_backward_weight(activations.qkv, x, gradients.qkv, scratch.weight);
  linear_backward_input(activations.qkv, weights.qkv, d_x);
}

}  // namespace ssgpt::model
