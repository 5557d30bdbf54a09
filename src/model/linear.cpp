#include "model/linear.h"

#include "model/work.h"

#include <ATen/ops/addmm.h>
#include <ATen/ops/mm.h>

namespace ssgpt::model {

void linear_forward(const at::Tensor& x, const at::Tensor& weight, at::Tensor out, std::string_view name) {
  const core::ProfileScope scope(
      name, product_work(x.size(0), weight.size(0), x.size(1), traffic(x, weight, out).bytes));
  at::mm_out(out, x, weight.t());
}

void linear_backward_input(const at::Tensor& d_out, const at::Tensor& weight, at::Tensor d_x,
                           std::string_view name) {
  const core::ProfileScope scope(
      name, product_work(d_out.size(0), weight.size(1), weight.size(0), traffic(d_out, weight, d_x).bytes));
  at::mm_out(d_x, d_out, weight);
}

void linear_backward_weight(const at::Tensor& d_out, const at::Tensor& x, at::Tensor d_weight,
                            const at::Tensor& scratch, std::string_view name) {
  const core::ProfileScope scope(name, product_work(d_weight.size(0), d_weight.size(1), x.size(0),
                                                    traffic(d_out, x, d_weight, d_weight).bytes));
  if (x.scalar_type() == d_weight.scalar_type()) {
    at::addmm_out(d_weight, d_weight, d_out.t(), x, /*beta=*/1, /*alpha=*/1);
    return;
  }
  at::Tensor product = scratch.narrow(0, 0, d_weight.numel()).view(d_weight.sizes());
  at::mm_out(product, d_out.t(), x);
  d_weight.add_(product);
}

}  // namespace ssgpt::model
