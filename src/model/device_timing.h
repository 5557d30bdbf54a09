// How long a device takes for what it is asked to do. A GPU works through a queue while the host goes on: its
// times are read from events in that queue, not from the host's clock.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>

#include <ATen/core/Tensor.h>

namespace ssgpt::model {

// Waits until the device has done all that it was asked for. At once on a CPU.
void synchronize(at::Device device);

// Points in the work of a device, in the order of setting.
class DeviceMarks {
 public:
  virtual ~DeviceMarks() = default;
  // Sets a mark behind all work that this thread has asked for so far; its number, from 0. Does not wait.
  virtual size_t set() = 0;
  // Waits until the work before the last mark is done.
  virtual void wait() = 0;
  // From one mark to a later one, seconds; after wait().
  virtual double seconds(size_t from, size_t to) const = 0;
  // Forgets the marks; the next one is number 0 again.
  virtual void clear() = 0;
};

// On a GPU, events on the current stream, which clear() keeps for later marks; on a CPU, the host's clock.
std::unique_ptr<DeviceMarks> make_marks(at::Device device);

// Seconds of the fastest of `calls` calls of `function`, one after the other; a GPU is waited for only behind
// the last, so that the host's share is seen only where it is the slower one.
double fastest_call(at::Device device, int calls, const std::function<void()>& function);

}  // namespace ssgpt::model
