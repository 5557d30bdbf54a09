// y = x W^T and its backward, into buffers that exist. M rows, K inputs, N outputs. `name` is a literal, for
// the profile.
#pragma once

#include <string_view>

#include <ATen/core/Tensor.h>

namespace ssgpt::model {

// What a backward does with the gradient of a weight that is there already.
enum class GradientMode {
  kAdd,        // adds to it
  kOverwrite,  // replaces it, whatever it is
};

// x: data (M, K).  weight: data (N, K).  out: data (M, N), =.
void linear_forward(const at::Tensor& x, const at::Tensor& weight, at::Tensor out,
                    std::string_view name = "product");

// d_out: data (M, N).  weight: data (N, K).  d_x: data (M, K), =.
void linear_backward_input(const at::Tensor& d_out, const at::Tensor& weight, at::Tensor d_x,
                           std::string_view name = "product, input gradient");

// d_weight += d_out^T x, or = as `mode` says.   d_out: data (M, N).  x: data (M, K).  d_weight: fp32 (N, K).
// scratch: bf16 of at least N K elements where the data are bf16 on a CPU (the product is rounded to bf16 and
// then added, as under PyTorch's autocast); not read otherwise, as there the sum itself goes on in fp32.
void linear_backward_weight(const at::Tensor& d_out, const at::Tensor& x, at::Tensor d_weight,
                            GradientMode mode, const at::Tensor& scratch,
                            std::string_view name = "product, weight gradient");

}  // namespace ssgpt::model
