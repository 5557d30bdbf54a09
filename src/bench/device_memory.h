// GPU memory held by this process, as Torch's caching allocator counts it.
#pragma once

#include <cstdint>

#include <ATen/core/Tensor.h>

namespace ssgpt::bench {

struct DeviceMemory {
  uint64_t allocated = 0;  // bytes in tensors, at the peak; 0 on a CPU
  uint64_t reserved = 0;   // bytes reserved from the GPU, at the peak
};
DeviceMemory peak_device_memory(at::Device device);

// Releases cached memory that no tensor holds, and resets the peaks. Does nothing on a CPU.
void release_device_memory(at::Device device);

}  // namespace ssgpt::bench
