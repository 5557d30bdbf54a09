// AdamW (Loshchilov and Hutter, arXiv 1711.05101) over one flat tensor. Knows slices, not models.
#pragma once

#include "core/range.h"
#include "kernels/ops.h"

#include <cstdint>
#include <vector>

#include <ATen/core/Tensor.h>

namespace ssgpt::optim {

using kernels::AdamWOptions;

// Elements [begin, end) of the flat tensor, their decoupled weight decay, and their learning-rate multiplier.
// Slices are sorted and disjoint; elements outside of them (alignment padding) are left alone.
struct UpdateSlice {
  int64_t begin = 0;
  int64_t end = 0;
  double weight_decay = 0.0;
  double lr_multiplier = 1.0;
};

class AdamW {
 public:
  // master, grad: fp32 (size), kept by reference. Moments start at zero. Only the elements in `owned`, sorted
  // and disjoint, are updated and have moments. bf16_copy: bf16 (size), kept by reference; each update also
  // stores the rounded weights there. Undefined: none.
  AdamW(at::Tensor master, at::Tensor grad, const std::vector<UpdateSlice>& slices,
        std::vector<core::Range> owned, const AdamWOptions& options, const at::Tensor& bf16_copy = {});

  // Performs update number `step` (1 for the first), for g = grad * grad_factor:
  //   m = beta1 m + (1 - beta1) g;  v = beta2 v + (1 - beta2) g^2
  //   w = w (1 - lr decay) - lr (m / (1 - beta1^step)) / (sqrt(v / (1 - beta2^step)) + eps)
  // as torch.optim.AdamW, with the slice's rate lr = `lr` lr_multiplier in place of a parameter group's; 0
  // changes the moments only. grad_factor: one fp32 element on the device; if it is not finite, nothing
  // changes.
  void step(int64_t step, double lr, const at::Tensor& grad_factor);

  // m and v: fp32 (total_size(owned)), the owned ranges concatenated.
  at::Tensor exp_avg() const { return exp_avg_; }
  at::Tensor exp_avg_sq() const { return exp_avg_sq_; }
  const std::vector<core::Range>& owned() const { return owned_; }

 private:
  at::Tensor master_, grad_, bf16_copy_;
  at::Tensor exp_avg_, exp_avg_sq_;
  std::vector<core::Range> owned_;
  std::vector<kernels::AdamWSlice> pieces_;  // contiguous owned elements of one slice; lr is not set
  std::vector<double> lr_multipliers_;       // per piece
  AdamWOptions options_;
};

}  // namespace ssgpt::optim
