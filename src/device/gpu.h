// The GPU of this process: finding it, taking it, what it has. In a build without CUDA there is none, and
// nothing else here is called.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include <ATen/core/Tensor.h>

namespace ssgpt::device {

struct GpuCount {
  int64_t count = 0;        // that this process can use
  std::string why_no_more;  // where it is 0: the reason, as CUDA has it
};
GpuCount count_gpus();

// Whether one of these GPUs is new enough for the kernels of this program; logs where there are only older
// ones.
bool has_usable_gpu();

struct GpuDescription {
  int64_t index = 0;
  std::string name;  // "NVIDIA H100 80GB HBM3"
  int64_t compute_major = 0, compute_minor = 0;
  uint64_t memory_bytes = 0;
};

GpuDescription describe_gpu(int64_t index);
// The current GPU of this thread.
GpuDescription current_gpu();

// "NVIDIA H100 80GB HBM3 (81079 MiB, compute capability 9.0)"
std::string to_string(const GpuDescription& gpu);

// How many GPUs this process can use. Throws core::UsageError, with CUDA's reason, where there is none.
int64_t require_gpus();

// Makes a GPU the current one of this thread, and sets for the whole process how ATen computes on it: fp32
// products in fp32 (TF32 off), and deterministic algorithms where asked for. Throws core::UsageError where
// the GPU is too old for the kernels of this program.
void take_gpu(int64_t index, bool deterministic);

// Bytes of the current GPU that this process may still allocate: free on the device, or held by ATen's
// allocator and not in use.
uint64_t free_gpu_memory();

// Gives what ATen's allocator holds and does not use back to the device; nothing to do on a CPU.
void release_cached_memory(at::Device device);

// Asks `done` several times a millisecond until it holds; calls `meanwhile` after each tenth of a second that
// it did not, and hands on what that throws.
void wait_by_asking(const std::function<bool()>& done, const std::function<void()>& meanwhile);

// Keeps the host from running ahead of a GPU without bound: work that is queued holds memory of the host, and
// a rank that failed would be noticed late. On a CPU, which works while the host waits, it does nothing.
class StepPacer {
 public:
  // When end_step() returns after a step, the one this many before is done (Communicator::agree_on_stop
  // relies on it).
  static constexpr size_t kLead = 2;

  // while_waiting: called some ten times a second while end_step() waits, which ends where it throws.
  explicit StepPacer(at::Device device, std::function<void()> while_waiting = {});
  ~StepPacer();
  StepPacer(const StepPacer&) = delete;
  StepPacer& operator=(const StepPacer&) = delete;

  // All work of a step is queued: returns when that of kLead steps before is done.
  void end_step();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;  // null on a CPU
};

}  // namespace ssgpt::device
