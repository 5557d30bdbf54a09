// Schedules a GEMM on the threads of a CPU: which thread packs and multiplies what, and when.
#pragma once

#include "kernels/cpu/table.h"

#include <cstdint>

namespace ssgpt::kernels {

// Computes args.out (rows, columns) on ATen's threads. The bits depend neither on their number nor on how the
// GEMM is partitioned: each element is summed in blocks of kDepthBlock along the depth, in order.
void multiply_on_cpu(const cpu::ProductArgs& args, int64_t rows, int64_t columns);

}  // namespace ssgpt::kernels
