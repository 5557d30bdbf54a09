#include "model/linear.h"

#include "kernels/ops.h"
#include "model/work.h"

#include <ATen/ops/mm.h>

namespace ssgpt::model {
namespace {

// On a CPU, fp32 uses our own GEMM, whose bits do not depend on the number of threads; bf16 uses the
// library's, which knows the processor's bf16 instructions.
bool is_ours(const at::Tensor& a) {
  return a.scalar_type() == at::kFloat || !a.device().is_cpu();
}

void product(const at::Tensor& a, const at::Tensor& b, at::Tensor out) {
  if (is_ours(a)) {
    kernels::matrix_product(a, b, /*accumulate=*/false, out);
  } else {
    at::mm_out(out, a, b);
  }
}

}  // namespace

void linear_forward(const at::Tensor& x, const at::Tensor& weight, at::Tensor out, std::string_view name) {
  const core::ProfileScope scope(
      name, product_work(x.size(0), weight.size(0), x.size(1), traffic(x, weight, out).bytes));
  product(x, weight.t(), out);
}

void linear_backward_input(const at::Tensor& d_out, const at::Tensor& weight, at::Tensor d_x,
                           std::string_view name) {
  const core::ProfileScope scope(
      name, product_work(d_out.size(0), weight.size(1), weight.size(0), traffic(d_out, weight, d_x).bytes));
  product(d_out, weight, d_x);
}

void linear_backward_weight(const at::Tensor& d_out, const at::Tensor& x, at::Tensor d_weight,
                            GradientMode mode, const at::Tensor& scratch, std::string_view name) {
  const bool add = mode == GradientMode::kAdd;
  const double bytes = traffic(d_out, x, d_weight, add ? d_weight : at::Tensor()).bytes;
  const core::ProfileScope scope(name, product_work(d_weight.size(0), d_weight.size(1), x.size(0), bytes));
  if (is_ours(x)) {
    kernels::matrix_product(d_out.t(), x, /*accumulate=*/add, d_weight);
    return;
  }
  const at::Tensor rounded = scratch.narrow(0, 0, d_weight.numel()).view(d_weight.sizes());
  product(d_out.t(), x, rounded);
  if (add) {
    d_weight.add_(rounded);
  } else {
    d_weight.copy_(rounded);
  }
}

}  // namespace ssgpt::model
