#include "model/attention.h"

#include "model/linear.h"

#include <cmath>
#include <tuple>

#include <ATen/ops/_scaled_dot_product_flash_attention_for_cpu.h>
#include <ATen/ops/_scaled_dot_product_flash_attention_for_cpu_backward.h>
#include <ATen/ops/empty_like.h>

namespace ssgpt::model {
namespace {

double softmax_scale(int64_t head_dim) {
  return 1.0 / std::sqrt(static_cast<double>(head_dim));
}

// (B, T, N, H) as the library takes it, (B, N, T, H): a view.
at::Tensor heads_first(const at::Tensor& x) {
  return x.transpose(1, 2);
}

// q, k and v of (B, T, 3, N, H), each (B, N, T, H): views.
struct Heads {
  explicit Heads(const at::Tensor& qkv)
      : q(heads_first(qkv.select(2, 0))),
        k(heads_first(qkv.select(2, 1))),
        v(heads_first(qkv.select(2, 2))) {}
  at::Tensor q, k, v;
};

// The part of (B, T, ...) that belongs to a segment, (1, length, ...): a view.
at::Tensor part(const at::Tensor& x, const Segment& segment) {
  return x.narrow(0, segment.batch, 1).narrow(1, segment.begin, segment.length);
}

// (out (B, N, T, H), logsumexp)
std::tuple<at::Tensor, at::Tensor> causal_attention(const at::Tensor& qkv) {
  const Heads heads(qkv);
  return at::_scaled_dot_product_flash_attention_for_cpu(heads.q, heads.k, heads.v, /*dropout_p=*/0.0,
                                                         /*is_causal=*/true, /*attn_mask=*/{},
                                                         softmax_scale(qkv.size(4)));
}

// Attention's own backward, then that of rotation and row scale: qkv becomes its gradient. All arguments
// belong to the same batch or segment.
void backward_in_place(const at::Tensor& d_heads, const at::Tensor& heads, const at::Tensor& logsumexp,
                       const at::Tensor& cos, const at::Tensor& sin, const at::Tensor& num_keys,
                       const kernels::RowScale& row_scale, const at::Tensor& qkv,
                       const at::Tensor& d_row_scale) {
  const Heads views(qkv);
  const auto [d_q, d_k, d_v] = at::_scaled_dot_product_flash_attention_for_cpu_backward(
      heads_first(d_heads), views.q, views.k, views.v, heads_first(heads), logsumexp, /*dropout_p=*/0.0,
      /*is_causal=*/true, /*attn_mask=*/{}, softmax_scale(qkv.size(4)));
  kernels::rope_backward(d_q, d_k, d_v, cos, sin, num_keys, row_scale, qkv, d_row_scale);
}

}  // namespace

void attention_forward(const at::Tensor& x, const AttentionWeights& weights, const AttentionContext& context,
                       AttentionActivations& activations, const at::Tensor& out) {
  linear_forward(x, weights.qkv, activations.qkv);
  const at::Tensor qkv = activations.qkv.view({context.batch, context.time, 3, context.num_heads, -1});
  const RopeTables& rope = context.rope;
  kernels::rope_forward(qkv, rope.cos, rope.sin, context.positions.num_keys, weights.row_scale);

  activations.logsumexps.clear();
  if (context.positions.segments.empty()) {
    const auto [heads, logsumexp] = causal_attention(qkv);
    activations.heads = heads_first(heads).reshape({x.size(0), -1});
    activations.logsumexps.push_back(logsumexp);
  } else {
    activations.heads = at::empty_like(x);
    const at::Tensor all_heads = activations.heads.view({context.batch, context.time, context.num_heads, -1});
    for (const Segment& segment : context.positions.segments) {
      const auto [heads, logsumexp] = causal_attention(part(qkv, segment));
      part(all_heads, segment).copy_(heads_first(heads));
      activations.logsumexps.push_back(logsumexp);
    }
  }
  linear_forward(activations.heads, weights.out, out);
}

void attention_backward(const at::Tensor& d_out, const at::Tensor& x, const AttentionWeights& weights,
                        const AttentionContext& context, AttentionActivations& activations,
                        const AttentionGradients& gradients, const AttentionScratch& scratch,
                        const at::Tensor& d_x) {
  linear_backward_weight(d_out, activations.heads, gradients.out, scratch.weight);
  linear_backward_input(d_out, weights.out, scratch.d_heads);

  const at::Tensor qkv = activations.qkv.view({context.batch, context.time, 3, context.num_heads, -1});
  const at::Tensor d_heads = scratch.d_heads.view({context.batch, context.time, context.num_heads, -1});
  const at::Tensor heads = activations.heads.view(d_heads.sizes());
  const at::Tensor& num_keys = context.positions.num_keys;
  const std::vector<Segment>& segments = context.positions.segments;
  const RopeTables& rope = context.rope;
  const at::Tensor& d_row_scale = scratch.d_row_scale;
  if (segments.empty()) {
    backward_in_place(d_heads, heads, activations.logsumexps.front(), rope.cos, rope.sin, num_keys,
                      weights.row_scale, qkv, d_row_scale);
  }
  for (size_t i = 0; i < segments.size(); ++i) {
    const Segment& segment = segments[i];
    backward_in_place(part(d_heads, segment), part(heads, segment), activations.logsumexps[i],
                      rope.cos.narrow(0, segment.begin, segment.length),
                      rope.sin.narrow(0, segment.begin, segment.length), part(num_keys, segment),
                      weights.row_scale, part(qkv, segment),
                      d_row_scale.defined() ? part(d_row_scale, segment) : at::Tensor());
  }
  if (!weights.row_scale.identity()) {
    kernels::row_scale_backward(d_row_scale, num_keys, weights.row_scale, gradients.scale, gradients.bias,
                                gradients.position);
  }
  linear_backward_weight(activations.qkv, x, gradients.qkv, scratch.weight);
  linear_backward_input(activations.qkv, weights.qkv, d_x);
}

}  // namespace ssgpt::model
