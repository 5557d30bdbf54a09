#include "optim/adamw.h"

#include "core/check.h"
#include "kernels/ops.h"

#include <algorithm>
#include <utility>

#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>

namespace ssgpt::optim {
namespace {

// Ranges or slices.
template <typename Part>
void check_order(const std::vector<Part>& parts, int64_t size) {
  int64_t previous_end = 0;
  for (const Part& part : parts) {
    SSGPT_CHECK(part.begin >= previous_end && part.begin <= part.end && part.end <= size,
                "[{}, {}) is out of order or outside of {} elements", part.begin, part.end, size);
    previous_end = part.end;
  }
}

}  // namespace

AdamW::AdamW(at::Tensor master, at::Tensor grad, const std::vector<UpdateSlice>& slices,
             std::vector<core::Range> owned, const AdamWOptions& options, const at::Tensor& shadow)
    : owned_(std::move(owned)), options_(options) {
  SSGPT_CHECK(master.dim() == 1 && master.is_contiguous() && master.scalar_type() == at::kFloat,
              "master is not a flat fp32 tensor");
  SSGPT_CHECK(grad.sizes() == master.sizes() && grad.is_contiguous() && grad.scalar_type() == at::kFloat,
              "grad does not match master");
  SSGPT_CHECK(!shadow.defined() || (shadow.sizes() == master.sizes() && shadow.is_contiguous() &&
                                    shadow.scalar_type() == at::kBFloat16),
              "the shadow is no flat bf16 tensor of the master's size");
  check_order(slices, master.numel());
  check_order(owned_, master.numel());
  exp_avg_ = at::zeros({core::total_size(owned_)}, master.options());
  exp_avg_sq_ = at::zeros_like(exp_avg_);
  int64_t first_moment = 0;  // of the owned range at hand
  for (const core::Range& range : owned_) {
    for (const UpdateSlice& slice : slices) {
      const int64_t begin = std::max(range.begin, slice.begin);
      const int64_t size = std::min(range.end, slice.end) - begin;
      if (size <= 0) continue;
      const int64_t moment = first_moment + begin - range.begin;
      pieces_.push_back({.master = master.narrow(0, begin, size),
                         .grad = grad.narrow(0, begin, size),
                         .exp_avg = exp_avg_.narrow(0, moment, size),
                         .exp_avg_sq = exp_avg_sq_.narrow(0, moment, size),
                         .shadow = shadow.defined() ? shadow.narrow(0, begin, size) : at::Tensor(),
                         .weight_decay = slice.weight_decay,
                         .lr_multiplier = slice.lr_multiplier});
    }
    first_moment += range.size();
  }
}

void AdamW::step(int64_t step, double lr, const at::Tensor& grad_factor) {
  for (const Piece& piece : pieces_) {
    kernels::adamw_update(piece.master, piece.grad, piece.exp_avg, piece.exp_avg_sq, piece.shadow,
                          lr * piece.lr_multiplier, options_.beta1, options_.beta2, options_.eps,
                          piece.weight_decay, step, grad_factor);
  }
}

}  // namespace ssgpt::optim
