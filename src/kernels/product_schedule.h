// Schedules a GEMM on the threads of a CPU: which thread packs and multiplies what, and when.
#pragma once

#include "kernels/cpu/table.h"

#include <cstdint>

namespace ssgpt::kernels {

// Computes args.out (rows, columns) on ATen's threads. The bits depend neither on their number nor on how the
// GEMM is partitioned: each element is summed in blocks of kDepthBlock along the depth, in order. Where both
// operands are contiguous across the depth, this is at least 2,048 and `out` has at most 2^21 elements, the
// two halves of the blocks are summed separately and then added.
void multiply_on_cpu(const cpu::ProductArgs& args, int64_t rows, int64_t columns);

}  // namespace ssgpt::kernels
