#include "core/stop_signal.h"

#include <signal.h>

#include <gtest/gtest.h>

namespace ssgpt::core {
namespace {

TEST(StopSignal, RemembersTheFirstSignalOfEachKind) {
  for (const int number : {SIGTERM, SIGINT, SIGUSR1, SIGHUP}) {
    const auto earlier = ::signal(number, SIG_DFL);  // whoever starts the tests may ignore SIGHUP
    {
      const StopSignal stop;
      EXPECT_EQ(stop.received(), 0);
      ::raise(number);
      EXPECT_EQ(stop.received(), number);
    }
    ::signal(number, earlier);
  }
}

TEST(StopSignal, RestoresTheEarlierHandlers) {
  static volatile sig_atomic_t calls = 0;
  calls = 0;
  const auto earlier = ::signal(SIGUSR1, [](int) { calls = calls + 1; });
  {
    const StopSignal stop;
    ::raise(SIGUSR1);
    EXPECT_EQ(stop.received(), SIGUSR1);
  }
  EXPECT_EQ(calls, 0);
  ::raise(SIGUSR1);
  EXPECT_EQ(calls, 1);
  ::signal(SIGUSR1, earlier);
}

TEST(StopSignalDeathTest, ASecondSignalEndsTheProcessAtOnce) {
  const auto two_signals = [] {
    const StopSignal stop;
    ::raise(SIGUSR1);
    ::raise(SIGTERM);
  };
  EXPECT_EXIT(two_signals(), testing::ExitedWithCode(128 + SIGTERM), "");
}

TEST(StopSignal, LeavesAnIgnoredHangupIgnored) {
  const auto earlier = ::signal(SIGHUP, SIG_IGN);
  {
    const StopSignal stop;
    ::raise(SIGHUP);
    EXPECT_EQ(stop.received(), 0);
  }
  EXPECT_EQ(::signal(SIGHUP, earlier), SIG_IGN);
}

TEST(StopSignal, AHangupIsNeverTheSecondSignal) {
  const StopSignal stop;
  ::raise(SIGTERM);
  ::raise(SIGHUP);
  EXPECT_EQ(stop.received(), SIGTERM);
}

TEST(StopSignalDeathTest, TheFirstSignalIsAnsweredAtOnce) {
  const auto two_signals = [] {
    const StopSignal stop("stopping soon");
    ::raise(SIGINT);
    ::raise(SIGINT);
  };
  EXPECT_EXIT(two_signals(), testing::ExitedWithCode(128 + SIGINT), "^stopping soon\n$");
}

}  // namespace
}  // namespace ssgpt::core
