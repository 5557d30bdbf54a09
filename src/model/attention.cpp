#include "model/attention.h"

#include "model/work.h"

namespace ssgpt::model {
namespace {

// qkv as (B, T, 3, N, H): a view.
at::Tensor split_heads(const at::Tensor& qkv, const AttentionContext& context) {
  return qkv.view({context.batch, context.time, 3, context.num_heads, -1});
}

// (B, T, N, H) as (M, D): a view.
at::Tensor by_row(const at::Tensor& heads) {
  return heads.view({heads.size(0) * heads.size(1), heads.size(2) * heads.size(3)});
}

// (M, D) as (B, T, N, H): a view.
at::Tensor by_head(const at::Tensor& x, const AttentionContext& context) {
  return x.view({context.batch, context.time, context.num_heads, -1});
}

// Work without document masking.
core::Work causal_work(int products, const AttentionContext& context, const at::Tensor& qkv, double bytes) {
  return attention_work(products, context.batch, context.time, context.num_heads, qkv.size(-1), bytes);
}

const kernels::Rotation& rotation_of(const AttentionWeights& weights, const AttentionContext& context) {
  return weights.is_rotated ? context.rotation : context.no_rotation;
}

kernels::QkNorm norm_of(const AttentionWeights& weights, const AttentionActivations& activations) {
  kernels::QkNorm norm = weights.qk_norm;
  norm.raw = activations.raw;
  return norm;
}

}  // namespace

void attention_forward(const at::Tensor& x, const AttentionWeights& weights, const AttentionContext& context,
                       AttentionActivations& activations, const AttentionScratch& scratch,
                       const at::Tensor& out) {
  linear_forward(x, weights.qkv, activations.qkv, "qkv GEMM");
  const at::Tensor qkv = split_heads(activations.qkv, context);
  {
    const double in_place = traffic(qkv, qkv).bytes * 2.0 / 3.0;
    const core::ProfileScope scope(
        "rope", core::Work{.flops = 0.0, .bytes = in_place + traffic(activations.raw).bytes});
    kernels::rope_forward(qkv, rotation_of(weights, context), context.spans.num_keys, weights.row_scale,
                          norm_of(weights, activations));
  }
  {
    // The output is a third of the size of q, k and v.
    const core::ProfileScope scope("attention",
                                   causal_work(/*products=*/2, context, qkv, traffic(qkv).bytes * 4.0 / 3.0));
    kernels::attention_forward(qkv, context.spans, context.backend, scratch.workspace, activations.result);
  }
  linear_forward(by_row(activations.result.out), weights.out, out, "attention output GEMM");
}

void attention_backward(const at::Tensor& d_out, const at::Tensor& x, const AttentionWeights& weights,
                        const AttentionContext& context, AttentionActivations& activations,
                        const AttentionGradients& gradients, GradientMode mode,
                        const AttentionScratch& scratch, const at::Tensor& d_x) {
  linear_backward_weight(d_out, by_row(activations.result.out), gradients.out, mode, scratch.weight,
                         "attention output weight gradient");
  linear_backward_input(d_out, weights.out, scratch.d_heads, "attention output input gradient");

  const at::Tensor qkv = split_heads(activations.qkv, context);
  kernels::AttentionInputGradients d;
  {
    // One of the five matmuls recomputes the scores. Reads five tensors (q, k, v, the output and its
    // gradient) and writes three.
    const core::ProfileScope scope("attention",
                                   causal_work(/*products=*/5, context, qkv, traffic(qkv).bytes * 8.0 / 3.0));
    d = kernels::attention_backward(
        by_head(scratch.d_heads, context), qkv, activations.result, context.spans, context.backend,
        scratch.workspace, scratch.d_qkv.defined() ? split_heads(scratch.d_qkv, context) : at::Tensor());
  }
  if (qkv.is_cuda()) activations.result = {};
  {
    // Reads d_q, d_k and d_v and writes qkv's gradients; also reads the scaled query for the gradient of its
    // scale or, with a norm, q and k before it for both gradients.
    const bool has_norm = !weights.qk_norm.identity();
    const double parts = has_norm || weights.row_scale.identity() ? 2.0 : 2.0 + 1.0 / 3.0;
    const core::ProfileScope scope(
        "rope",
        core::Work{.flops = 0.0, .bytes = parts * traffic(qkv).bytes + traffic(activations.raw).bytes});
    kernels::rope_backward(
        d.d_q, d.d_k, d.d_v, rotation_of(weights, context), context.spans.num_keys, weights.row_scale,
        norm_of(weights, activations), qkv, scratch.d_row_scale,
        {.q_gain = gradients.q_norm, .k_gain = gradients.k_norm, .scratch = scratch.qk_norm});
  }
  if (!weights.row_scale.identity()) {
    const core::ProfileScope scope("row scale", traffic(scratch.d_row_scale, context.spans.num_keys));
    kernels::row_scale_backward(scratch.d_row_scale, context.spans.num_keys, weights.row_scale,
                                gradients.scale, gradients.bias, gradients.position, scratch.row_scale);
  }
  linear_backward_weight(activations.qkv, x, gradients.qkv, mode, scratch.weight, "qkv weight gradient");
  linear_backward_input(activations.qkv, weights.qkv, d_x, "qkv input gradient");
}

}  // namespace ssgpt::model
