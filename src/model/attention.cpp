#include "model/attention.h"

#include "model/linear.h"
#include "model/work.h"

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

// As if no document ended inside of a window.
core::Work causal_work(int products, const AttentionContext& context, const at::Tensor& heads, double bytes) {
  return attention_work(products, context.batch, context.time, context.num_heads,
                        heads.size(-1) / context.num_heads, bytes);
}

}  // namespace

void attention_forward(const at::Tensor& x, const AttentionWeights& weights, const AttentionContext& context,
                       const AttentionActivations& activations, const AttentionScratch& scratch,
                       const at::Tensor& out) {
  linear_forward(x, weights.qkv, activations.qkv, "qkv product");
  const at::Tensor qkv = split_heads(activations.qkv, context);
  {
    const core::ProfileScope scope("rope",
                                   core::Work{.flops = 0.0, .bytes = traffic(qkv, qkv).bytes * 2.0 / 3.0});
    kernels::rope_forward(qkv, context.rope.cos, context.rope.sin, context.num_keys, weights.row_scale);
  }
  {
    const core::ProfileScope scope("attention",
                                   causal_work(/*products=*/2, context, activations.heads,
                                               traffic(qkv, activations.heads, activations.logsumexp).bytes));
    kernels::attention_forward(qkv, context.num_keys, scratch.workspace, by_head(activations.heads, context),
                               activations.logsumexp);
  }
  linear_forward(activations.heads, weights.out, out, "attention output product");
}

void attention_backward(const at::Tensor& d_out, const at::Tensor& x, const AttentionWeights& weights,
                        const AttentionContext& context, const AttentionActivations& activations,
                        const AttentionGradients& gradients, const AttentionScratch& scratch,
                        const at::Tensor& d_x) {
  linear_backward_weight(d_out, activations.heads, gradients.out, scratch.weight,
                         "attention output weight gradient");
  linear_backward_input(d_out, weights.out, scratch.d_heads, "attention output input gradient");

  const at::Tensor qkv = split_heads(activations.qkv, context);
  const at::Tensor d_qkv = split_heads(scratch.d_qkv, context);
  {
    // Of the five products one makes the scores anew.
    const core::ProfileScope scope(
        "attention",
        causal_work(/*products=*/5, context, activations.heads,
                    traffic(scratch.d_heads, qkv, activations.heads, activations.logsumexp, d_qkv).bytes));
    kernels::attention_backward(by_head(scratch.d_heads, context), qkv, by_head(activations.heads, context),
                                activations.logsumexp, context.num_keys, scratch.workspace, d_qkv);
  }
  const auto part = [&d_qkv](int64_t index) {
    return d_qkv.select(2, index).transpose(1, 2);
  };
  {
    const core::ProfileScope scope("rope", traffic(scratch.d_qkv, activations.qkv));
    kernels::rope_backward(part(0), part(1), part(2), context.rope.cos, context.rope.sin, context.num_keys,
                           weights.row_scale, qkv, scratch.d_row_scale);
  }
  if (!weights.row_scale.identity()) {
    const core::ProfileScope scope("row scale", traffic(scratch.d_row_scale, context.num_keys));
    kernels::row_scale_backward(scratch.d_row_scale, context.num_keys, weights.row_scale, gradients.scale,
                                gradients.bias, gradients.position);
  }
  linear_backward_weight(activations.qkv, x, gradients.qkv, scratch.weight, "qkv weight gradient");
  linear_backward_input(activations.qkv, weights.qkv, d_x, "qkv input gradient");
}

}  // namespace ssgpt::model
