// A matrix product on the threads of a CPU: what is packed and multiplied by whom, and when.
#pragma once

#include "kernels/cpu/table.h"

#include <cstdint>

namespace ssgpt::kernels {

// Computes args.out (rows, columns) on ATen's threads. Neither their number nor the way in which the product
// is cut changes a bit of it: each element is the sum of kDepthBlock numbers at a time, in order.
void multiply_on_cpu(const cpu::ProductArgs& args, int64_t rows, int64_t columns);

}  // namespace ssgpt::kernels
