#include "model/mlp.h"

#include "kernels/ops.h"
#include "model/work.h"

namespace ssgpt::model {

void mlp_forward(const at::Tensor& x, const MlpWeights& weights, const MlpActivations& activations,
                 const at::Tensor& out) {
  linear_forward(x, weights.gate_up, activations.gate_up, "gate and up GEMM");
  {
    const core::ProfileScope scope("swiglu", traffic(activations.gate_up, activations.hidden));
    kernels::swiglu_forward(activations.gate_up, activations.hidden);
  }
  linear_forward(activations.hidden, weights.down, out, "down GEMM");
}

void mlp_backward(const at::Tensor& d_out, const at::Tensor& x, const MlpWeights& weights,
                  const MlpActivations& activations, const MlpGradients& gradients, GradientMode mode,
                  const MlpScratch& scratch, const at::Tensor& d_x) {
  linear_backward_weight(d_out, activations.hidden, gradients.down, mode, scratch.weight,
                         "down weight gradient");
  linear_backward_input(d_out, weights.down, scratch.d_hidden, "down input gradient");
  {
    const core::ProfileScope scope("swiglu",
                                   traffic(scratch.d_hidden, activations.gate_up, activations.gate_up));
    kernels::swiglu_backward(scratch.d_hidden, activations.gate_up, /*d_gate_up=*/activations.gate_up);
  }
  linear_backward_weight(activations.gate_up, x, gradients.gate_up, mode, scratch.weight,
                         "gate and up weight gradient");
  linear_backward_input(activations.gate_up, weights.gate_up, d_x, "gate and up input gradient");
}

}  // namespace ssgpt::model
