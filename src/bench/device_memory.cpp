#include "bench/device_memory.h"

#include <c10/core/CachingDeviceAllocator.h>
#include <c10/core/impl/VirtualGuardImpl.h>

namespace ssgpt::bench {
namespace {

c10::DeviceIndex index_of(at::Device device) {
  return device.has_index() ? device.index() : c10::impl::VirtualGuardImpl(device.type()).getDevice().index();
}

}  // namespace

DeviceMemory peak_device_memory(at::Device device) {
  if (device.is_cpu()) return {};
  const auto stats = c10::getDeviceAllocator(device.type())->getDeviceStats(index_of(device));
  constexpr auto kAll = static_cast<size_t>(c10::CachingAllocator::StatType::AGGREGATE);
  return {.allocated = static_cast<uint64_t>(stats.allocated_bytes[kAll].peak),
          .reserved = static_cast<uint64_t>(stats.reserved_bytes[kAll].peak)};
}

void release_device_memory(at::Device device) {
  if (device.is_cpu()) return;
  c10::DeviceAllocator* allocator = c10::getDeviceAllocator(device.type());
  if (!allocator->initialized()) return;
  allocator->emptyCache();
  allocator->resetPeakStats(index_of(device));
}

}  // namespace ssgpt::bench
