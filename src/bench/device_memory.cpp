#include "bench/device_memory.h"

#include "device/gpu.h"
#include "device/index.h"

#include <c10/core/CachingDeviceAllocator.h>

namespace ssgpt::bench {

DeviceMemory peak_device_memory(at::Device device) {
  if (device.is_cpu()) return {};
  const auto stats =
      c10::getDeviceAllocator(device.type())->getDeviceStats(device::with_index(device).index());
  constexpr auto kAll = static_cast<size_t>(c10::CachingAllocator::StatType::AGGREGATE);
  return {.allocated = static_cast<uint64_t>(stats.allocated_bytes[kAll].peak),
          .reserved = static_cast<uint64_t>(stats.reserved_bytes[kAll].peak)};
}

void release_device_memory(at::Device device) {
  if (device.is_cpu()) return;
  device::release_cached_memory(device);
  c10::DeviceAllocator* allocator = c10::getDeviceAllocator(device.type());
  if (allocator->initialized()) allocator->resetPeakStats(device::with_index(device).index());
}

}  // namespace ssgpt::bench
