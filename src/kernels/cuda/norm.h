// What the host side must know of the kernels of RMSNorm.
#pragma once

#include <cstdint>

namespace ssgpt::kernels::cuda {

// The widest rows that they take: where rows are multiples of 16 bytes, and where they are not.
constexpr int64_t kWidestNorm = 8192;
constexpr int64_t kWidestUnalignedNorm = 4096;

}  // namespace ssgpt::kernels::cuda
