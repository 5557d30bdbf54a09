// What a machine gives at best, measured in the same process as what is compared with it.
#pragma once

#include "core/profile.h"
#include "model/gpt.h"

#include <string>

namespace ssgpt::bench {

struct Ceilings {
  double product_flops = 0.0;  // a second: a large matrix product in the compute dtype
  double copy_bytes = 0.0;     // a second, read and written: a copy of tensors far larger than the cache
};                             // of all ranks together, at the same time
Ceilings measure_ceilings(const model::Execution& execution);

// The least time that some work takes at these ceilings, seconds: that of its arithmetic or that of its
// traffic, whichever is longer.
double least_seconds(const core::Work& work, const Ceilings& ceilings);

// "83 % copy": the share of the ceiling that bounds the work; empty where there is no work or no time.
std::string share_of_ceiling(const core::Work& work, double seconds, const Ceilings& ceilings);

}  // namespace ssgpt::bench
