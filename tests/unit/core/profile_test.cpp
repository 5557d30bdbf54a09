#include "core/profile.h"

#include <chrono>
#include <string>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

namespace ssgpt::core {
namespace {

void sleep_ms(int ms) {
  std::this_thread::sleep_for(std::chrono::milliseconds(ms));
}

void step() {
  const ProfileScope phase("forward");
  for (int layer = 0; layer < 3; ++layer) {
    const ProfileScope scope("product", {.flops = 10.0, .bytes = 4.0});
    sleep_ms(2);
  }
}

TEST(Profile, AddsUpCallsWorkAndTimeOfNestedScopes) {
  HostProfile profile;
  const ListenToProfile listening(profile);
  step();
  step();
  ASSERT_EQ(profile.entries().size(), 2u);
  const HostProfile::Entry& phase = profile.entries()[0];
  const HostProfile::Entry& op = profile.entries()[1];
  EXPECT_EQ(phase.name, "forward");
  EXPECT_EQ(phase.parent, -1);
  EXPECT_EQ(phase.calls, 2);
  EXPECT_EQ(op.parent, 0);
  EXPECT_EQ(op.calls, 6);
  EXPECT_EQ(op.work.flops, 60.0);
  EXPECT_EQ(op.work.bytes, 24.0);
  EXPECT_GE(op.seconds, 0.012);  // a sleep never ends early
  EXPECT_GE(phase.seconds, op.seconds);
}

TEST(Profile, KeepsScopesOfOneNameApartWhereTheyStandInDifferentOnes) {
  HostProfile profile;
  const ListenToProfile listening(profile);
  for (const char* name : {"forward", "backward"}) {
    const ProfileScope phase(name);
    const ProfileScope scope("norm", {.flops = 0.0, .bytes = 1.0});
  }
  ASSERT_EQ(profile.entries().size(), 4u);
  EXPECT_EQ(profile.entries()[1].name, "norm");
  EXPECT_EQ(profile.entries()[1].parent, 0);
  EXPECT_EQ(profile.entries()[3].name, "norm");
  EXPECT_EQ(profile.entries()[3].parent, 2);
  EXPECT_EQ(profile.entries()[3].calls, 1);
}

TEST(Profile, HearsOnlyItsOwnThreadAndOnlyWhileItListens) {
  HostProfile profile;
  step();
  {
    const ListenToProfile listening(profile);
    std::thread(step).join();
  }
  step();
  EXPECT_TRUE(profile.entries().empty());
}

TEST(Profile, TheListenerBeforeIsBackAfterwards) {
  HostProfile outer;
  HostProfile inner;
  const ListenToProfile listening(outer);
  {
    const ListenToProfile within(inner);
    const ProfileScope scope("inner");
  }
  { const ProfileScope scope("outer"); }
  ASSERT_EQ(outer.entries().size(), 1u);
  EXPECT_EQ(outer.entries()[0].name, "outer");
  ASSERT_EQ(inner.entries().size(), 1u);
  EXPECT_EQ(inner.entries()[0].name, "inner");
}

TEST(Profile, ResetKeepsTheEntriesAndForgetsTheirFigures) {
  HostProfile profile;
  const ListenToProfile listening(profile);
  step();
  profile.reset();
  EXPECT_EQ(profile.entries()[1].calls, 0);
  EXPECT_EQ(profile.entries()[1].seconds, 0.0);
  step();
  ASSERT_EQ(profile.entries().size(), 2u);
  EXPECT_EQ(profile.entries()[1].calls, 3);
  EXPECT_EQ(profile.entries()[1].work.flops, 30.0);
}

}  // namespace
}  // namespace ssgpt::core
