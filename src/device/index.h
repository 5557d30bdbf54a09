// Which of several devices of a kind a tensor's device means.
#pragma once

#include <ATen/core/Tensor.h>
#include <c10/core/impl/VirtualGuardImpl.h>

namespace ssgpt::device {

// `device` itself where it is the CPU or has an index, else the current one of its type on this thread.
inline at::Device with_index(at::Device device) {
  if (device.is_cpu() || device.has_index()) return device;
  return c10::impl::VirtualGuardImpl(device.type()).getDevice();
}

}  // namespace ssgpt::device
