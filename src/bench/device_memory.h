// What this process holds of a GPU's memory, as Torch's caching allocator counts it.
#pragma once

#include <cstdint>

#include <ATen/core/Tensor.h>

namespace ssgpt::bench {

struct DeviceMemory {
  uint64_t allocated = 0;  // in tensors, at the peak; zero on a CPU
  uint64_t reserved = 0;   // taken from the GPU, at the peak
};
DeviceMemory peak_device_memory(at::Device device);

// Gives back what no tensor holds, and begins the peaks anew. Nothing on a CPU.
void release_device_memory(at::Device device);

}  // namespace ssgpt::bench
