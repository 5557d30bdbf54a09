// The gated feed-forward network. Shapes: M rows, D hidden, F feed-forward.
#pragma once

#include "model/linear.h"

#include <ATen/core/Tensor.h>

namespace ssgpt::model {

struct MlpWeights {
  at::Tensor gate_up;  // data (2F, D): rows of gate, then up
  at::Tensor down;     // data (D, F)
};

struct MlpGradients {  // fp32
  at::Tensor gate_up, down;
};

// State for the backward.
struct MlpActivations {
  at::Tensor gate_up;  // data (M, 2F); the backward leaves its gradient here
  at::Tensor hidden;   // data (M, F): silu(gate) * up
};

struct MlpScratch {
  at::Tensor d_hidden;  // data (M, F)
  at::Tensor weight;    // see linear_backward_weight
};

// x: data (M, D).  out: data (M, D), =.
void mlp_forward(const at::Tensor& x, const MlpWeights& weights, const MlpActivations& activations,
                 const at::Tensor& out);

// d_out, x: data (M, D).  d_x: data (M, D), =.  gradients: += or =, as `mode` says.
void mlp_backward(const at::Tensor& d_out, const at::Tensor& x, const MlpWeights& weights,
                  const MlpActivations& activations, const MlpGradients& gradients, GradientMode mode,
                  const MlpScratch& scratch, const at::Tensor& d_x);

}  // namespace ssgpt::model
