// Measures how long a device takes for its work. A GPU works through a queue asynchronously: times are read
// from events in that queue, not from the host's clock.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>

#include <ATen/core/Tensor.h>

namespace ssgpt::model {

// Waits until the device has finished all queued work; returns at once on a CPU.
void synchronize(at::Device device);

// Timestamps in a device's work queue, in the order in which they are set.
class DeviceMarks {
 public:
  virtual ~DeviceMarks() = default;
  // Sets a mark after all work that this thread has queued so far; returns its number, from 0. Does not wait.
  virtual size_t set() = 0;
  // Waits until the work before the last mark is done.
  virtual void wait() = 0;
  // Seconds between a mark and a later one; call after wait().
  virtual double seconds(size_t from, size_t to) const = 0;
  // Forgets the marks; the next one is number 0 again.
  virtual void clear() = 0;
};

// On a GPU, uses events on the current stream, which clear() keeps for reuse; on a CPU, the host's clock.
std::unique_ptr<DeviceMarks> make_marks(at::Device device);

// Seconds of the fastest of `calls` consecutive calls of `function`. A GPU is waited for only after the last
// call, so that host time shows only where the host is the bottleneck.
double fastest_call(at::Device device, int calls, const std::function<void()>& function);

}  // namespace ssgpt::model
