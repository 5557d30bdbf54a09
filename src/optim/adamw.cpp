#include "optim/adamw.h"

#include "core/check.h"
#include "kernels/ops.h"

#include <utility>

#include <ATen/ops/zeros_like.h>

namespace ssgpt::optim {

AdamW::AdamW(at::Tensor master, at::Tensor grad, std::vector<DecaySlice> slices, const AdamWOptions& options)
    : master_(std::move(master)), grad_(std::move(grad)), slices_(std::move(slices)), options_(options) {
  SSGPT_CHECK(master_.dim() == 1 && master_.is_contiguous() && master_.scalar_type() == at::kFloat,
              "master is not a flat fp32 tensor");
  SSGPT_CHECK(grad_.sizes() == master_.sizes() && grad_.is_contiguous() && grad_.scalar_type() == at::kFloat,
              "grad does not match master");
  int64_t previous_end = 0;
  for (const DecaySlice& slice : slices_) {
    SSGPT_CHECK(slice.begin >= previous_end && slice.begin <= slice.end && slice.end <= master_.numel(),
                "slice [{}, {}) is out of order or outside of {} elements", slice.begin, slice.end,
                master_.numel());
    previous_end = slice.end;
  }
  exp_avg_ = at::zeros_like(master_);
  exp_avg_sq_ = at::zeros_like(master_);
}

void AdamW::step(int64_t step, double lr, const at::Tensor& grad_factor) {
  for (const DecaySlice& slice : slices_) {
    kernels::adamw_update(master_, grad_, exp_avg_, exp_avg_sq_, slice.begin, slice.end, lr, options_.beta1,
                          options_.beta2, options_.eps, slice.weight_decay, step, grad_factor);
  }
}

}  // namespace ssgpt::optim
