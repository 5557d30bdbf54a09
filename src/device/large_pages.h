// Tensors that a training holds throughout.
#pragma once

#include <ATen/core/Tensor.h>

namespace ssgpt::device {

// As at::empty and at::zeros, with their errors. On a CPU, a tensor of 2 MiB and more asks the system for
// pages of that size: a step goes over hundreds of MB, and with pages of 4 KiB it waits for the translation
// of addresses. No more addresses are taken for it, but the first byte of a large page makes all of it
// resident.
at::Tensor empty_held(at::IntArrayRef shape, const at::TensorOptions& options);
at::Tensor zeros_held(at::IntArrayRef shape, const at::TensorOptions& options);

}  // namespace ssgpt::device
