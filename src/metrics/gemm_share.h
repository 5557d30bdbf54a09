// Training's FLOP/s as a share of the fastest large GEMM that the devices have shown. Not responsible for
// measuring the GEMM.
#pragma once

#include <functional>

namespace ssgpt::metrics {

class GemmShare {
 public:
  // `measure`: FLOP/s of a large GEMM, all devices together; 0 if it cannot be computed, in which case it is
  // not tried again. Not called before the first use.
  explicit GemmShare(std::function<double()> measure);

  // Measures now, unless that was done already.
  void prepare();

  // Returns the share, in (0, 1], that a speed in FLOP/s reaches; 0 if there is nothing to compare with. A
  // speed above the best GEMM means that other work slowed the GEMM down: it is measured again, and if the
  // speed is still above it, training's own speed becomes the best that the devices have shown.
  double of(double flops_per_second);

  double best_flops() const { return best_; }  // 0 before the first measurement

 private:
  std::function<double()> measure_;
  bool measured_ = false;
  double best_ = 0.0;
};

}  // namespace ssgpt::metrics
