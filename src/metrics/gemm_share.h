// The training's arithmetic as a share of the fastest large matrix product (GEMM) that the devices have
// shown. Not responsible for measuring the product.
#pragma once

#include <functional>

namespace ssgpt::metrics {

class GemmShare {
 public:
  // `measure`: floating-point operations a second of a large product, of all devices together; 0 where it
  // cannot be computed, which is not tried again. Not called before a share is asked for.
  explicit GemmShare(std::function<double()> measure);

  // Measures, where that was not done yet.
  void prepare();

  // The share, above 0 and at most 1, of a speed in FLOP/s; 0 where there is nothing to compare with. A speed
  // above the best product says that other work slowed that one down: it is measured again, and where the
  // speed is still above it, what the training reached is itself the best that the devices have shown.
  double of(double flops_per_second);

  double best_flops() const { return best_; }  // 0 before the first measurement

 private:
  std::function<double()> measure_;
  bool measured_ = false;
  double best_ = 0.0;
};

}  // namespace ssgpt::metrics
