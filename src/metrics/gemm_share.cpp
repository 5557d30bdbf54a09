#include "metrics/gemm_share.h"

#include "core/check.h"

#include <algorithm>
#include <utility>

namespace ssgpt::metrics {

GemmShare::GemmShare(std::function<double()> measure) : measure_(std::move(measure)) {}

void GemmShare::prepare() {
  if (!std::exchange(measured_, true)) best_ = measure_();
}

double GemmShare::of(double flops_per_second) {
  SSGPT_CHECK(flops_per_second > 0.0, "the training's speed is {} FLOP/s, not positive", flops_per_second);
  prepare();
  if (best_ == 0.0) return 0.0;
  if (flops_per_second > best_) best_ = std::max(best_, measure_());
  best_ = std::max(best_, flops_per_second);
  return flops_per_second / best_;
}

}  // namespace ssgpt::metrics
