// How the host waits for a GPU, with something else to wait for.
#include "device/gpu.h"

#include <chrono>
#include <stdexcept>

#include <gtest/gtest.h>

namespace ssgpt::device {
namespace {

using Clock = std::chrono::steady_clock;

TEST(WaitByPolling, ReturnsAtOnceWhereItIsDone) {
  int asked = 0;
  int told = 0;
  wait_by_polling(
      [&] {
        ++asked;
        return true;
      },
      [&] { ++told; });
  EXPECT_EQ(asked, 1);
  EXPECT_EQ(told, 0);
}

TEST(WaitByPolling, TellsWhileItWaitsAndEndsWhenItIsDone) {
  const auto begin = Clock::now();
  int told = 0;
  wait_by_polling([&] { return told == 3; }, [&] { ++told; });
  EXPECT_EQ(told, 3);
  EXPECT_GE(Clock::now() - begin, std::chrono::milliseconds(300));
}

TEST(WaitByPolling, HandsOnWhatIsThrownMeanwhile) {
  EXPECT_THROW(wait_by_polling([] { return false; }, [] { throw std::runtime_error("a rank is lost"); }),
               std::runtime_error);
}

TEST(WaitByPolling, NeedsNobodyToTell) {
  const auto begin = Clock::now();
  wait_by_polling([&] { return Clock::now() - begin > std::chrono::milliseconds(150); }, {});
  EXPECT_GT(Clock::now() - begin, std::chrono::milliseconds(150));
}

}  // namespace
}  // namespace ssgpt::device
