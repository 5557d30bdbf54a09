#include "device/gpu.h"

#include "core/error.h"
#include "core/log.h"
#include "device/cuda_library.h"
#include "device/gpu_functions.h"
#include "device/index.h"

#include <array>
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <memory>
#include <optional>
#include <thread>
#include <utility>

#include <ATen/Context.h>
#include <c10/core/CachingDeviceAllocator.h>
#include <c10/core/Event.h>
#include <c10/core/impl/VirtualGuardImpl.h>
#include <fmt/format.h>

namespace ssgpt::device {
namespace {

constexpr int64_t kOldestComputeMajor = 8;

c10::impl::VirtualGuardImpl driver() {
  return c10::impl::VirtualGuardImpl(at::kCUDA);
}

const GpuFunctions& functions() {
  return cuda_functions<GpuFunctions>(kGpuFunctions);
}

void set_precision(bool deterministic) {
  at::Context& context = at::globalContext();
  context.setFloat32MatmulPrecision("highest");
  // ATen's own matmuls refuse to run in deterministic mode without it.
  if (deterministic) setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8", /*overwrite=*/0);
  context.setDeterministicAlgorithms(deterministic, /*warn_only=*/false);
  // Otherwise an extra kernel fills every allocation, to reveal uninitialised reads, which our kernels never
  // make.
  context.setDeterministicFillUninitializedMemory(false);
}

}  // namespace

GpuCount count_gpus() {
  const std::string why_not = load_cuda_library();
  if (!why_not.empty()) return {.count = 0, .why_no_more = why_not};
  return functions().count_gpus();
}

GpuDescription describe_gpu(int64_t index) {
  return functions().describe_gpu(index);
}

GpuDescription current_gpu() {
  return functions().current_gpu();
}

std::string cuda_versions() {
  const std::string why_not = load_cuda_library(WithoutDriver::kLoad);
  if (!why_not.empty()) return fmt::format("CUDA      none: {}\n", why_not);
  return functions().library_versions();
}

std::string to_string(const GpuDescription& gpu) {
  return fmt::format("{} ({} MiB, compute capability {}.{})", gpu.name, gpu.memory_bytes >> 20,
                     gpu.compute_major, gpu.compute_minor);
}

bool has_usable_gpu() {
  const GpuCount gpus = count_gpus();
  const std::string why_not = load_cuda_library();
  static std::atomic<bool> has_warned = false;  // a command may ask again
  if (has_nvidia_driver() && !why_not.empty() && !has_warned.exchange(true)) {
    core::log::warning("NVIDIA's driver is installed, but the CPU computes: {}.", why_not);
  }
  std::string too_old;
  for (int64_t index = 0; index < gpus.count; ++index) {
    const GpuDescription gpu = describe_gpu(index);
    if (gpu.compute_major >= kOldestComputeMajor) return true;
    too_old = to_string(gpu);
  }
  if (gpus.count > 0) {
    core::log::info("{}: this program needs compute capability {}.0 or newer, so the CPU computes.", too_old,
                    kOldestComputeMajor);
  }
  return false;
}

int64_t require_gpus() {
  const GpuCount gpus = count_gpus();
  if (gpus.count == 0) {
    throw core::UsageError(
        "The device is cuda, and this process can use no GPU: {}. To use the CPU, set train.device=cpu (a "
        "run that began on a GPU can continue there), or in other commands --device cpu; or check the driver "
        "(nvidia-smi) and CUDA_VISIBLE_DEVICES.",
        gpus.why_no_more);
  }
  return gpus.count;
}

void take_gpu(int64_t index, bool deterministic) {
  driver().setDevice(at::Device(at::kCUDA, static_cast<c10::DeviceIndex>(index)));
  const GpuDescription gpu = current_gpu();
  if (gpu.compute_major < kOldestComputeMajor) {
    throw core::UsageError(
        "{}: this program needs compute capability {}.0 or newer. Choose another GPU with "
        "CUDA_VISIBLE_DEVICES, or set train.device=cpu.",
        to_string(gpu), kOldestComputeMajor);
  }
  set_precision(deterministic);
}

uint64_t free_gpu_memory() {
  const c10::DeviceIndex index = driver().getDevice().index();
  at::globalContext().lazyInitDevice(at::kCUDA);
  c10::DeviceAllocator& allocator = *c10::getDeviceAllocator(at::kCUDA);
  const c10::CachingDeviceAllocator::DeviceStats stats = allocator.getDeviceStats(index);
  const auto cached = stats.reserved_bytes[0].current - stats.allocated_bytes[0].current;
  return allocator.getMemoryInfo(index).first + static_cast<uint64_t>(cached);
}

void release_cached_memory(at::Device device) {
  if (device.is_cpu()) return;
  c10::DeviceAllocator* allocator = c10::getDeviceAllocator(device.type());
  if (allocator->initialized()) allocator->emptyCache();
}

struct StepPacer::Impl {
  Impl(at::Device of, std::function<void()> meanwhile) : device(of), while_waiting(std::move(meanwhile)) {
    for (std::optional<c10::Event>& event : events) event.emplace(device.type());
  }
  const at::Device device;
  const std::function<void()> while_waiting;
  std::array<std::optional<c10::Event>, kLead> events;  // ring of the last kLead steps
  size_t next = 0;
};

void wait_by_polling(const std::function<bool()>& done, const std::function<void()>& meanwhile) {
  constexpr std::chrono::microseconds kPause{200};
  constexpr std::chrono::milliseconds kRound{100};
  auto begin = std::chrono::steady_clock::now();
  while (!done()) {
    std::this_thread::sleep_for(kPause);
    if (std::chrono::steady_clock::now() - begin < kRound) continue;
    if (meanwhile) meanwhile();
    begin = std::chrono::steady_clock::now();
  }
}

StepPacer::StepPacer(at::Device device, std::function<void()> while_waiting) {
  if (device.is_cpu()) return;
  impl_ = std::make_unique<Impl>(with_index(device), std::move(while_waiting));
}
StepPacer::~StepPacer() = default;

void StepPacer::end_step() {
  if (!impl_) return;
  c10::Event& event = *impl_->events[impl_->next];
  // Polls, since a collective whose other ranks are gone blocks the GPU forever.
  wait_by_polling([&event] { return event.query(); },
                  impl_->while_waiting);  // query() is true where nothing was recorded
  event.record(driver().getStream(impl_->device));
  impl_->next = (impl_->next + 1) % impl_->events.size();
}

}  // namespace ssgpt::device
