// Resolves a device without an index.
#pragma once

#include <ATen/core/Tensor.h>
#include <c10/core/impl/VirtualGuardImpl.h>

namespace ssgpt::device {

// `device` itself if it is the CPU or has an index, else this thread's current device of its type.
inline at::Device with_index(at::Device device) {
  if (device.is_cpu() || device.has_index()) return device;
  return c10::impl::VirtualGuardImpl(device.type()).getDevice();
}

}  // namespace ssgpt::device
