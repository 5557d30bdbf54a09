// Best performance of a machine, measured in the same process as what is compared with it.
#pragma once

#include "core/profile.h"
#include "model/gpt.h"

#include <string>

namespace ssgpt::bench {

struct Ceilings {
  double product_flops = 0.0;  // FLOP/s of a large GEMM in the compute dtype
  double copy_bytes = 0.0;  // bytes per second, read and written, of copying tensors far larger than a cache
};                          // sums over all ranks, measured at the same time
Ceilings measure_ceilings(const model::Execution& execution);

// Lower bound in seconds on the time of some work at these ceilings: that of its arithmetic or of its memory
// traffic, whichever is longer.
double least_seconds(const core::Work& work, const Ceilings& ceilings);

// "83 % copy": share of the ceiling that bounds the work; empty if there is no work or no time.
std::string share_of_ceiling(const core::Work& work, double seconds, const Ceilings& ceilings);

}  // namespace ssgpt::bench
