// The profile of a device's time, on a clock that the test moves: a scope's marks are set before the device
// comes to them, and are read afterwards.
#include "bench/device_profile.h"

#include "core/check.h"

#include <deque>
#include <memory>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

namespace ssgpt::bench {
namespace {

// Mark i is passed at the i-th of the given times, once it was waited for.
class FakeMarks : public model::DeviceMarks {
 public:
  explicit FakeMarks(std::vector<double> times) : times_(times.begin(), times.end()) {}
  size_t set() override {
    was_waited_for_ = false;
    marks_.push_back(times_.at(0));
    times_.pop_front();
    return marks_.size() - 1;
  }
  void wait() override { was_waited_for_ = true; }
  double seconds(size_t from, size_t to) const override {
    EXPECT_TRUE(was_waited_for_);
    return marks_.at(to) - marks_.at(from);
  }
  void clear() override { marks_.clear(); }

 private:
  std::deque<double> times_;
  std::vector<double> marks_;
  bool was_waited_for_ = false;
};

// forward { product; product }; update
void step() {
  {
    const core::ProfileScope phase("forward");
    for (int i = 0; i < 2; ++i) const core::ProfileScope scope("product", {.flops = 8.0, .bytes = 2.0});
  }
  const core::ProfileScope phase("update", {.flops = 0.0, .bytes = 5.0});
}

DeviceProfile profile_of(std::vector<double> times) {
  return DeviceProfile(std::make_unique<FakeMarks>(std::move(times)));
}

TEST(DeviceProfile, AddsUpNestedScopesOfSeveralSteps) {
  // forward 1 { product 2..4, product 5..8 } 10, update 10..16; the second step half as fast, later.
  DeviceProfile profile = profile_of({1, 2, 4, 5, 8, 10, 10, 16, 100, 102, 106, 108, 114, 118, 118, 130});
  const core::ListenToProfile listening(profile);
  step();
  EXPECT_EQ(profile.collect(), 15.0);
  step();
  EXPECT_EQ(profile.collect(), 30.0);
  ASSERT_EQ(profile.entries().size(), 3u);
  const core::ProfileEntry& forward = profile.entries()[0];
  const core::ProfileEntry& product = profile.entries()[1];
  const core::ProfileEntry& update = profile.entries()[2];
  EXPECT_EQ(forward.name, "forward");
  EXPECT_EQ(forward.calls, 2);
  EXPECT_EQ(forward.seconds, 9.0 + 18.0);
  EXPECT_EQ(product.parent, 0);
  EXPECT_EQ(product.calls, 4);
  EXPECT_EQ(product.seconds, 2.0 + 3.0 + 4.0 + 6.0);
  EXPECT_EQ(product.work.flops, 4 * 8.0);
  EXPECT_EQ(update.parent, -1);
  EXPECT_EQ(update.seconds, 6.0 + 12.0);
  EXPECT_EQ(update.work.bytes, 10.0);
}

TEST(DeviceProfile, ReadsNothingWhileAScopeIsOpen) {
  DeviceProfile profile = profile_of({1, 2});
  profile.begin("forward", {});
  EXPECT_THROW(profile.collect(), core::InternalError);
  profile.end();
  EXPECT_EQ(profile.collect(), 1.0);
  EXPECT_EQ(profile.collect(), 0.0);  // nothing since
  EXPECT_EQ(profile.entries()[0].seconds, 1.0);
}

// On the marks of the CPU it must agree with the host's profile of the same scopes.
TEST(DeviceProfile, OfACpuIsTheHosts) {
  DeviceProfile device(model::make_marks(at::kCPU));
  core::HostProfile host;
  core::BothListen both(host, device);
  {
    const core::ListenToProfile listening(both);
    const core::ProfileScope scope("work");
    volatile double x = 0.0;
    for (int i = 0; i < 1'000'000; ++i) x = x + 1.0;
  }
  device.collect();
  ASSERT_EQ(device.entries().size(), 1u);
  EXPECT_GT(device.entries()[0].seconds, 0.0);
  EXPECT_LE(device.entries()[0].seconds, host.entries()[0].seconds);  // the host's begins first and ends last
}

TEST(FastestCall, IsTheLeastOfTheCallsAndMakesEachOnce) {
  int calls = 0;
  const double seconds = model::fastest_call(at::kCPU, 5, [&calls] {
    volatile double x = 0.0;
    for (int i = 0; i < (calls == 3 ? 1'000 : 10'000'000); ++i) x = x + 1.0;
    ++calls;
  });
  EXPECT_EQ(calls, 5);
  EXPECT_GT(seconds, 0.0);
  EXPECT_LT(seconds, 1e-2);  // of a thousand additions; ten million, one behind the other, take longer
}

}  // namespace
}  // namespace ssgpt::bench
