// Tensors that live for a whole training run.
#pragma once

#include <ATen/core/Tensor.h>

namespace ssgpt::device {

// Like at::empty and at::zeros, with the same errors. On a CPU, a tensor of 2 MiB or more requests huge pages
// of that size: a step touches hundreds of MB, and with 4 KiB pages it waits on TLB misses. No additional
// address space is used, but touching one byte makes the whole huge page resident.
at::Tensor empty_held(at::IntArrayRef shape, const at::TensorOptions& options);
at::Tensor zeros_held(at::IntArrayRef shape, const at::TensorOptions& options);

}  // namespace ssgpt::device
