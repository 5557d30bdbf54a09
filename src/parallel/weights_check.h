// Checks by checksums that all ranks hold the same weights.
#pragma once

#include "parallel/communicator.h"

#include <cstdint>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>

namespace ssgpt::parallel {

// Checksum of all bytes of `flat`, contiguous, on any device: 32 hexadecimal digits.
std::string weights_checksum(const at::Tensor& flat);

// The ranks whose checksum (hexadecimal digits, 16 or more) differs from rank 0's; the same result on all
// ranks. Called on all ranks, after Communicator::open().
std::vector<int64_t> ranks_with_another(Communicator& communicator, const std::string& checksum);

// The ranks whose `flat` differs from rank 0's in any bit; the same result on all ranks. Called on all ranks,
// after Communicator::open().
std::vector<int64_t> ranks_with_other_weights(Communicator& communicator, const at::Tensor& flat);

// Throws core::RunError, on all ranks, if `flat` differs in any bit on some rank from rank 0's, naming the
// ranks that differ and the step. Called on all ranks, after Communicator::open().
void require_equal_weights(Communicator& communicator, const at::Tensor& flat, int64_t step);

}  // namespace ssgpt::parallel
