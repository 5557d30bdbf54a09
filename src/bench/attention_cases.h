// The attention cases of kernel_cases.h: rotation, row scale, attention itself.
#pragma once

#include "bench/kernel_cases.h"

#include <vector>

namespace ssgpt::bench {

std::vector<KernelCase> attention_cases();

}  // namespace ssgpt::bench
