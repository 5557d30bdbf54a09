#include "model/device_timing.h"

#include "core/check.h"
#include "device/index.h"

#include <algorithm>
#include <chrono>
#include <limits>
#include <vector>

#include <c10/core/Event.h>
#include <c10/core/impl/VirtualGuardImpl.h>

namespace ssgpt::model {
namespace {

class HostMarks : public DeviceMarks {
 public:
  size_t set() override {
    marks_.push_back(Clock::now());
    return marks_.size() - 1;
  }
  void wait() override {}
  double seconds(size_t from, size_t to) const override {
    return std::chrono::duration<double>(marks_.at(to) - marks_.at(from)).count();
  }
  void clear() override { marks_.clear(); }

 private:
  using Clock = std::chrono::steady_clock;
  std::vector<Clock::time_point> marks_;
};

class EventMarks : public DeviceMarks {
 public:
  explicit EventMarks(at::Device device) : driver_(device.type()), device_(device::with_index(device)) {}

  size_t set() override {
    // Events with default flags have timing disabled.
    if (used_ == events_.size()) events_.emplace_back(device_.type(), c10::EventFlag::BACKEND_DEFAULT);
    events_[used_].record(driver_.getStream(device_));
    return used_++;
  }
  void wait() override {
    if (used_ > 0) events_[used_ - 1].synchronize();
  }
  double seconds(size_t from, size_t to) const override {
    SSGPT_CHECK(from < used_ && to < used_, "marks {} and {} of {}", from, to, used_);
    return 1e-3 * events_[from].elapsedTime(events_[to]);
  }
  void clear() override { used_ = 0; }

 private:
  const c10::impl::VirtualGuardImpl driver_;
  const at::Device device_;
  std::vector<c10::Event> events_;
  size_t used_ = 0;
};

}  // namespace

void synchronize(at::Device device) {
  if (device.is_cpu()) return;
  const c10::impl::VirtualGuardImpl driver(device.type());
  driver.synchronizeDevice(device::with_index(device).index());
}

std::unique_ptr<DeviceMarks> make_marks(at::Device device) {
  if (device.is_cpu()) return std::make_unique<HostMarks>();
  return std::make_unique<EventMarks>(device);
}

double fastest_call(at::Device device, int calls, const std::function<void()>& function) {
  const std::unique_ptr<DeviceMarks> marks = make_marks(device);
  marks->set();
  for (int call = 0; call < calls; ++call) {
    function();
    marks->set();
  }
  marks->wait();
  double fastest = std::numeric_limits<double>::infinity();
  for (int call = 0; call < calls; ++call) {
    const auto mark = static_cast<size_t>(call);
    fastest = std::min(fastest, marks->seconds(mark, mark + 1));
  }
  return fastest;
}

}  // namespace ssgpt::model
