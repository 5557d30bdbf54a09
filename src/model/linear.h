// y = x W^T and its backward, into existing buffers. M rows, K inputs, N outputs. `name` is a literal, for
// the profile.
#pragma once

#include <string_view>

#include <ATen/core/Tensor.h>

namespace ssgpt::model {

// How a backward treats an existing weight gradient.
enum class GradientMode {
  kAdd,        // accumulates into it
  kOverwrite,  // replaces it, whatever it holds
};

// x: data (M, K).  weight: data (N, K).  out: data (M, N), =.
void linear_forward(const at::Tensor& x, const at::Tensor& weight, at::Tensor out,
                    std::string_view name = "GEMM");

// d_out: data (M, N).  weight: data (N, K).  d_x: data (M, K), =.
void linear_backward_input(const at::Tensor& d_out, const at::Tensor& weight, at::Tensor d_x,
                           std::string_view name = "GEMM, input gradient");

// d_weight += d_out^T x, or =, as `mode` says.   d_out: data (M, N).  x: data (M, K).  d_weight: fp32 (N, K).
// scratch: bf16 of at least N K elements for bf16 data on a CPU (the GEMM's result is rounded to bf16 and
// then added, as under PyTorch's autocast); otherwise not read, as the GEMM accumulates in fp32 directly.
void linear_backward_weight(const at::Tensor& d_out, const at::Tensor& x, at::Tensor d_weight,
                            GradientMode mode, const at::Tensor& scratch,
                            std::string_view name = "GEMM, weight gradient");

}  // namespace ssgpt::model
