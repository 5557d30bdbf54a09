#include "optim/adamw.h"

#include "core/check.h"
#include "device/large_pages.h"

#include <algorithm>
#include <utility>

namespace ssgpt::optim {
namespace {

// For ranges and slices.
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
             std::vector<core::Range> owned, const AdamWOptions& options, const at::Tensor& bf16_copy)
    : master_(std::move(master)),
      grad_(std::move(grad)),
      bf16_copy_(bf16_copy),
      owned_(std::move(owned)),
      options_(options) {
  SSGPT_CHECK(master_.dim() == 1 && master_.is_contiguous() && master_.scalar_type() == at::kFloat,
              "master is not a flat fp32 tensor");
  SSGPT_CHECK(grad_.sizes() == master_.sizes() && grad_.is_contiguous() && grad_.scalar_type() == at::kFloat,
              "grad does not match master");
  SSGPT_CHECK(!bf16_copy_.defined() || (bf16_copy_.sizes() == master_.sizes() && bf16_copy_.is_contiguous() &&
                                        bf16_copy_.scalar_type() == at::kBFloat16),
              "the bf16_copy is no flat bf16 tensor of the master's size");
  check_order(slices, master_.numel());
  check_order(owned_, master_.numel());
  exp_avg_ = device::zeros_held({core::total_size(owned_)}, master_.options());
  exp_avg_sq_ = device::zeros_held(exp_avg_.sizes(), exp_avg_.options());
  int64_t first_moment = 0;  // of the current owned range
  for (const core::Range& range : owned_) {
    for (const UpdateSlice& slice : slices) {
      const int64_t begin = std::max(range.begin, slice.begin);
      const int64_t size = std::min(range.end, slice.end) - begin;
      if (size <= 0) continue;
      const int64_t moment = first_moment + begin - range.begin;
      pieces_.push_back(
          {.begin = begin, .moment = moment, .size = size, .lr = 0.0, .weight_decay = slice.weight_decay});
      lr_multipliers_.push_back(slice.lr_multiplier);
    }
    first_moment += range.size();
  }
}

void AdamW::step(int64_t step, double lr, const at::Tensor& grad_factor) {
  std::vector<kernels::AdamWSlice> slices = pieces_;
  for (size_t i = 0; i < slices.size(); ++i) slices[i].lr = lr * lr_multipliers_[i];
  kernels::adamw_update(master_, grad_, exp_avg_, exp_avg_sq_, bf16_copy_, slices, options_, step,
                        grad_factor);
}

}  // namespace ssgpt::optim
