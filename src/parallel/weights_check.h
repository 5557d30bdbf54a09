// Whether all ranks hold the same weights, by their checksums.
#pragma once

#include "parallel/communicator.h"

#include <cstdint>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>

namespace ssgpt::parallel {

// 32 hexadecimal digits over all bytes of `flat`, contiguous, on any device.
std::string weights_checksum(const at::Tensor& flat);

// The ranks whose checksum (hexadecimal digits, 16 or more) is not that of rank 0, the same on all ranks. All
// ranks, after Communicator::open().
std::vector<int64_t> ranks_with_another(Communicator& communicator, const std::string& checksum);

// The ranks whose `flat` has other bits than that of rank 0, the same on all ranks. All ranks, after
// Communicator::open().
std::vector<int64_t> ranks_with_other_weights(Communicator& communicator, const at::Tensor& flat);

// Throws core::RunError, on all ranks, where `flat` has other bits on one of them than on rank 0, naming the
// ranks that differ and the step. All ranks, after Communicator::open().
void require_equal_weights(Communicator& communicator, const at::Tensor& flat, int64_t step);

}  // namespace ssgpt::parallel
