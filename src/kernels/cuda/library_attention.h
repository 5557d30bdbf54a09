// Attention on a GPU by LibTorch's fused kernels, without autograd. Shapes as in kernels/ops.h.
#pragma once

#include "kernels/ops.h"

#include <ATen/core/Tensor.h>

namespace ssgpt::kernels::cuda {

// qkv: data (B, T, 3, N, H) on a GPU.
AttentionResult library_attention_forward(const at::Tensor& qkv, const Spans& spans,
                                          AttentionBackend backend);

// d_out: data (B, T, N, H), contiguous, because cuDNN's plans are cached by the strides of q, k and v alone.
AttentionInputGradients library_attention_backward(const at::Tensor& d_out, const at::Tensor& qkv,
                                                   const AttentionResult& result, const Spans& spans,
                                                   AttentionBackend backend);

}  // namespace ssgpt::kernels::cuda
