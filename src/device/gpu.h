// Finds, selects and describes the GPU of this process. Where the CUDA library is not loaded
// (device/cuda_library.h) there is none, and functions that need one must not be called.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include <ATen/core/Tensor.h>

namespace ssgpt::device {

struct GpuCount {
  int64_t count = 0;        // usable by this process
  std::string why_no_more;  // where count is 0: the reason
};
// Loads the CUDA library if NVIDIA's driver is installed.
GpuCount count_gpus();

// Whether any of these GPUs is new enough for this program's kernels. Logs if all are too old, and warns if
// there is a driver, but the CUDA library cannot be loaded.
bool has_usable_gpu();

struct GpuDescription {
  int64_t index = 0;
  std::string name;  // "NVIDIA H100 80GB HBM3"
  int64_t compute_major = 0, compute_minor = 0;
  uint64_t memory_bytes = 0;
};

GpuDescription describe_gpu(int64_t index);
// Describes the current GPU of this thread.
GpuDescription current_gpu();

// "NVIDIA H100 80GB HBM3 (81079 MiB, compute capability 9.0)"
std::string to_string(const GpuDescription& gpu);

// Versions of the CUDA libraries that come with the CUDA library of this program, in lines, which it loads
// for this purpose even without a driver: "CUDA      13.0\ncuDNN     9.19.0\nNCCL      2.28.9\n", or "CUDA
// none: " and why it cannot be loaded.
std::string cuda_versions();

// Number of GPUs that this process can use. Throws core::UsageError, with the reason, where there is none.
int64_t require_gpus();

// Makes a GPU the current one of this thread, and configures ATen for the whole process: fp32 matmuls in fp32
// (TF32 off), and deterministic algorithms if requested. Throws core::UsageError where the GPU is too old for
// this program's kernels.
void take_gpu(int64_t index, bool deterministic);

// Bytes that this process can still allocate on the current GPU: free on the device, or cached and unused in
// ATen's allocator.
uint64_t free_gpu_memory();

// Returns the unused cached memory of ATen's allocator to the device. Does nothing on a CPU.
void release_cached_memory(at::Device device);

// Polls `done` every 0.2 ms until it is true. Calls `meanwhile` about every 0.1 s, and propagates its
// exceptions.
void wait_by_polling(const std::function<bool()>& done, const std::function<void()>& meanwhile);

// Bounds how far the host runs ahead of a GPU: queued work holds host memory, and a failed rank would be
// noticed late. Does nothing on a CPU, where operations are synchronous.
class StepPacer {
 public:
  // When end_step() returns after a step, the step this many before it has completed
  // (Communicator::agree_on_stop relies on it).
  static constexpr size_t kLead = 2;

  // while_waiting: called about ten times per second while end_step() waits; its exceptions end the wait.
  explicit StepPacer(at::Device device, std::function<void()> while_waiting = {});
  ~StepPacer();
  StepPacer(const StepPacer&) = delete;
  StepPacer& operator=(const StepPacer&) = delete;

  // Call when all work of a step is queued. Returns once the work of kLead steps before is done.
  void end_step();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;  // null on a CPU
};

}  // namespace ssgpt::device
