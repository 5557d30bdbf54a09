// One transformer block: x += attention(norm(x)); x += mlp(norm(x)). Adding a branch is fused into the norm
// that reads the sum, so the mlp's branch is passed on to the next block (or the final norm).
#pragma once

#include "model/attention.h"
#include "model/mlp.h"

#include <ATen/core/Tensor.h>

namespace ssgpt::model {

struct BlockWeights {
  at::Tensor attention_norm;  // data (D)
  AttentionWeights attention;
  at::Tensor mlp_norm;  // data (D)
  MlpWeights mlp;
};

struct BlockGradients {
  at::Tensor attention_norm;  // fp32 (D), +=
  AttentionGradients attention;
  at::Tensor mlp_norm;  // fp32 (D), +=
  MlpGradients mlp;
};

// A norm's input and output, for its backward.
struct NormActivations {
  at::Tensor input;   // data (M, D): the residual stream
  at::Tensor output;  // data (M, D)
  at::Tensor rstd;    // fp32 (M)
};

struct BlockActivations {
  NormActivations attention_norm;
  AttentionActivations attention;
  NormActivations mlp_norm;
  MlpActivations mlp;
};

// Memory shared by all layers.
struct Scratch {
  at::Tensor branch;    // data (M, D): a block's last branch, for the next norm
  at::Tensor d_normed;  // data (M, D)
  // fp32 (kernels::num_row_chunks(M), D): for the gradients of the norm weights
  at::Tensor attention_norm_sums, mlp_norm_sums;
  AttentionScratch attention;
  MlpScratch mlp;
};

struct BlockContext {
  AttentionContext attention;
  double norm_eps = 0.0;
};

// norm(residual + branch), or norm(activations.input) if `branch` is undefined.
void norm_forward(const at::Tensor& residual, const at::Tensor& branch, const at::Tensor& weight, double eps,
                  const NormActivations& activations);

// d_x = gradient through the norm, or += where `accumulate`.   d_out: data (M, D).  weight_sums: fp32
// (kernels::num_row_chunks(M), D), =, for kernels::add_row_sums.
void norm_backward(const at::Tensor& d_out, const at::Tensor& weight, const NormActivations& activations,
                   bool accumulate, const at::Tensor& d_x, const at::Tensor& weight_sums);

// If `residual` is undefined, reads the residual stream from activations.attention_norm.input; otherwise
// computes it as residual + scratch.branch. Leaves it in activations.mlp_norm.input, and the mlp's branch in
// scratch.branch.
void block_forward(const at::Tensor& residual, const BlockWeights& weights, const BlockContext& context,
                   BlockActivations& activations, const Scratch& scratch);

// d_residual: data (M, D), gradient of the stream after the block; becomes that of the stream before it.
// mode: for the matrix gradients; all others accumulate.
void block_backward(const at::Tensor& d_residual, const BlockWeights& weights, const BlockContext& context,
                    BlockActivations& activations, const BlockGradients& gradients, GradientMode mode,
                    const Scratch& scratch);

}  // namespace ssgpt::model
