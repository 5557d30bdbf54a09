#include "metrics/live_line.h"

#include <algorithm>
#include <chrono>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace ssgpt::metrics {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using testing::AllOf;
using testing::HasSubstr;
using testing::StartsWith;

const LiveLine::Clock::time_point kStart{std::chrono::hours(1)};

ConsoleFigures known() {
  return {.step = 10, .max_steps = 110, .loss = 3.5, .tokens_per_second = 1.0, .eta_seconds = 1.0};
}

// The text that a call writes to stderr.
template <typename Function>
std::string written(const Function& function) {
  testing::internal::CaptureStderr();
  function();
  return testing::internal::GetCapturedStderr();
}

TEST(LiveLine, ShowsStepAndSpeedOfNowAndTheRestAsLastKnown) {
  LiveLine line(/*shown=*/true);
  line.start(kStart);
  line.add(/*tokens=*/1000, kStart + seconds(1));
  line.add(/*tokens=*/1000, kStart + seconds(2));
  EXPECT_THAT(written([&] { line.draw(known(), /*step=*/12, kStart + seconds(2)); }),
              AllOf(StartsWith("\rstep  12/110"), HasSubstr("1K tok/s"), HasSubstr("ETA 1 min 38 s"),
                    HasSubstr("loss  3.5000")));
}

TEST(LiveLine, CountsNoTimeBesideTheTraining) {
  LiveLine line(/*shown=*/true);
  line.start(kStart);
  line.pause(kStart);
  line.resume(kStart + seconds(100));
  line.add(/*tokens=*/500, kStart + seconds(101));
  EXPECT_THAT(written([&] { line.draw(known(), /*step=*/11, kStart + seconds(101)); }),
              HasSubstr("500 tok/s"));
}

TEST(LiveLine, IsRedrawnAFewTimesASecondAndLeavesNothing) {
  testing::internal::CaptureStderr();
  {
    LiveLine line(/*shown=*/true);
    line.start(kStart);
    for (int step = 1; step <= 100; ++step) {
      line.add(/*tokens=*/1, kStart + milliseconds(10 * step));
      line.draw(known(), step, kStart + milliseconds(10 * step));
    }
  }
  const std::string output = testing::internal::GetCapturedStderr();
  const auto draws = std::count(output.begin(), output.end(), '\r') - 1;  // and one that clears it
  EXPECT_GE(draws, 3);
  EXPECT_LE(draws, 20);
  EXPECT_TRUE(output.ends_with("\r\x1b[K")) << output;
}

TEST(LiveLine, LetsALineStayEveryTenSecondsAndWhereItMust) {
  LiveLine line(/*shown=*/true);
  line.start(kStart);
  EXPECT_FALSE(line.line_stays(/*must=*/false, kStart + seconds(9)));
  EXPECT_TRUE(line.line_stays(/*must=*/false, kStart + seconds(10)));
  EXPECT_FALSE(line.line_stays(/*must=*/false, kStart + seconds(19)));
  EXPECT_TRUE(line.line_stays(/*must=*/true, kStart + seconds(19)));
  EXPECT_FALSE(line.line_stays(/*must=*/false, kStart + seconds(28)));
  EXPECT_TRUE(line.line_stays(/*must=*/false, kStart + seconds(29)));
}

TEST(LiveLine, DrawsNothingAndLetsEveryLineStayWhereItIsNotShown) {
  EXPECT_EQ(written([] {
              LiveLine line(/*shown=*/false);
              line.start(kStart);
              line.add(/*tokens=*/1, kStart + seconds(1));
              line.draw(known(), /*step=*/1, kStart + seconds(1));
              EXPECT_TRUE(line.line_stays(/*must=*/false, kStart + seconds(1)));
              EXPECT_TRUE(line.line_stays(/*must=*/false, kStart + seconds(1)));
            }),
            "");
}

}  // namespace
}  // namespace ssgpt::metrics
