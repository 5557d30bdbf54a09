#include "model/block.h"

#include "kernels/ops.h"
#include "model/work.h"

namespace ssgpt::model {

void norm_forward(const at::Tensor& residual, const at::Tensor& branch, const at::Tensor& weight, double eps,
                  const NormActivations& activations) {
  const core::ProfileScope scope(
      "norm", branch.defined() ? traffic(residual, branch, activations.input, activations.output)
                               : traffic(activations.input, activations.output));
  if (branch.defined()) {
    kernels::add_rms_norm_forward(residual, branch, weight, eps, activations.input, activations.output,
                                  activations.rstd);
  } else {
    kernels::rms_norm_forward(activations.input, weight, eps, activations.output, activations.rstd);
  }
}

void norm_backward(const at::Tensor& d_out, const at::Tensor& weight, const NormActivations& activations,
                   bool accumulate, const at::Tensor& d_x, const at::Tensor& weight_sums) {
  const core::ProfileScope scope("norm",
                                 traffic(d_out, activations.input, d_x, accumulate ? d_x : at::Tensor()));
  kernels::rms_norm_backward(d_out, activations.input, weight, activations.rstd, accumulate, d_x,
                             weight_sums);
}

void block_forward(const at::Tensor& residual, const BlockWeights& weights, const BlockContext& context,
                   BlockActivations& activations, const Scratch& scratch) {
  const at::Tensor incoming = residual.defined() ? scratch.branch : at::Tensor();
  norm_forward(residual, incoming, weights.attention_norm, context.norm_eps, activations.attention_norm);
  attention_forward(activations.attention_norm.output, weights.attention, context.attention,
                    activations.attention, scratch.attention,
                    /*out=*/scratch.branch);
  norm_forward(activations.attention_norm.input, scratch.branch, weights.mlp_norm, context.norm_eps,
               activations.mlp_norm);
  mlp_forward(activations.mlp_norm.output, weights.mlp, activations.mlp, /*out=*/scratch.branch);
}

void block_backward(const at::Tensor& d_residual, const BlockWeights& weights, const BlockContext& context,
                    BlockActivations& activations, const BlockGradients& gradients, GradientMode mode,
                    const Scratch& scratch) {
  // The gradient of a sum equals that of both summands: d_residual is also the gradient of each branch.
  mlp_backward(d_residual, activations.mlp_norm.output, weights.mlp, activations.mlp, gradients.mlp, mode,
               scratch.mlp, /*d_x=*/scratch.d_normed);
  norm_backward(scratch.d_normed, weights.mlp_norm, activations.mlp_norm, /*accumulate=*/true, d_residual,
                scratch.mlp_norm_sums);
  attention_backward(d_residual, activations.attention_norm.output, weights.attention, context.attention,
                     activations.attention, gradients.attention, mode, scratch.attention,
                     /*d_x=*/scratch.d_normed);
  norm_backward(scratch.d_normed, weights.attention_norm, activations.attention_norm, /*accumulate=*/true,
                d_residual, scratch.attention_norm_sums);
  const core::ProfileScope scope("norm", traffic(scratch.mlp_norm_sums, scratch.attention_norm_sums));
  kernels::add_row_sums({{.of_chunks = scratch.mlp_norm_sums, .total = gradients.mlp_norm},
                         {.of_chunks = scratch.attention_norm_sums, .total = gradients.attention_norm}});
}

}  // namespace ssgpt::model
