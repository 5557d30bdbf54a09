// Limits of the RMSNorm kernels that the host side needs.
#pragma once

#include <cstdint>

namespace ssgpt::kernels::cuda {

// Widest supported rows: if rows are multiples of 16 bytes, and if not.
constexpr int64_t kWidestNorm = 8192;
constexpr int64_t kWidestUnalignedNorm = 4096;

}  // namespace ssgpt::kernels::cuda
