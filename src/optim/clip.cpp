#include "optim/clip.h"

#include "core/check.h"

#include <limits>

#include <ATen/ops/full.h>
#include <ATen/ops/isfinite.h>
#include <ATen/ops/ones_like.h>
#include <ATen/ops/reciprocal.h>
#include <ATen/ops/sqrt.h>
#include <ATen/ops/where.h>

namespace ssgpt::optim {

ClippedGradient clip_by_global_norm(const at::Tensor& squared_norm, const at::Tensor& loss_sum,
                                    int64_t num_tokens, double max_norm) {
  SSGPT_CHECK(num_tokens > 0, "no predicted token in the step");
  SSGPT_CHECK(loss_sum.numel() == 1, "loss_sum has {} elements", loss_sum.numel());
  SSGPT_CHECK(squared_norm.numel() == 1 && squared_norm.scalar_type() == at::kDouble,
              "the squared norm is not one fp64 number");
  const at::Tensor norm = squared_norm.reshape({1}).sqrt().div_(static_cast<double>(num_tokens));
  at::Tensor factor = at::ones_like(norm);
  if (max_norm > 0.0) {
    factor = norm.add(1e-6).reciprocal_().mul_(max_norm).clamp_max_(1.0);
  }
  factor.div_(static_cast<double>(num_tokens));
  // clamp and an infinite norm would both make a broken step's factor finite, so finiteness is tested
  // explicitly.
  const at::Tensor finite = norm.isfinite().logical_and_(loss_sum.reshape({1}).isfinite());
  factor = at::where(finite, factor, std::numeric_limits<double>::quiet_NaN());
  return {.norm = norm, .factor = factor.to(at::kFloat)};
}

}  // namespace ssgpt::optim
