// Clipping by the global norm, with the division by the number of predicted tokens folded in.
#pragma once

#include <cstdint>

#include <ATen/core/Tensor.h>

namespace ssgpt::optim {

struct ClippedGradient {  // tensors of one element on the gradient's device; nothing is copied to the host
  at::Tensor norm;        // fp64: of the mean gradient, grad / num_tokens, before clipping
  // fp32: min(1, max_norm / (norm + 1e-6)) / num_tokens, as torch.nn.utils.clip_grad_norm_; NaN if the norm
  // or loss_sum is not finite, so that the update leaves the weights alone.
  at::Tensor factor;
};

// squared_norm: one fp64 element, of the whole gradient as sums over tokens. num_tokens > 0. max_norm 0: no
// clipping. loss_sum: one fp64 element.
ClippedGradient clip_by_global_norm(const at::Tensor& squared_norm, const at::Tensor& loss_sum,
                                    int64_t num_tokens, double max_norm);

}  // namespace ssgpt::optim
