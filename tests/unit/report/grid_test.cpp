#include "report/grid.h"

#include "core/error.h"
#include "report/run_files.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include <gtest/gtest.h>

namespace ssgpt::report {
namespace {

// Lines every `every` steps up to `last`, and one at `last`; a step's loss is its number.
RunData run_with_lines(int64_t every, int64_t last, int64_t first_boundary = 0) {
  RunData run;
  run.config.log.every = every;
  for (int64_t begin = first_boundary; begin < last; begin += every) {
    const int64_t end = std::min(begin + every, last);
    run.train.push_back({begin + 1, end, end * 64, 0.5 * static_cast<double>(begin + 1 + end)});
  }
  return run;
}

std::vector<const RunData*> pointers(const std::vector<RunData>& runs) {
  std::vector<const RunData*> result;
  for (const RunData& run : runs) result.push_back(&run);
  return result;
}

TEST(Grid, DifferentLoggingStepsMeetAtTheirCommonMultiples) {
  const std::vector<RunData> runs = {run_with_lines(10, 100), run_with_lines(15, 100)};
  const std::vector<Stretch> grid = shared_stretches(pointers(runs));
  ASSERT_EQ(grid.size(), 4U);  // 30, 60, 90, 100
  EXPECT_EQ(grid[1].first_step, 31);
  EXPECT_EQ(grid[1].last_step, 60);
  EXPECT_EQ(grid[1].tokens, 60 * 64);
  EXPECT_EQ(grid[3].last_step, 100);
  // The mean of the numbers of its steps, whatever the lines.
  for (const RunData& run : runs) {
    const std::vector<double> losses = losses_on(run, grid);
    EXPECT_DOUBLE_EQ(losses[0], 15.5);
    EXPECT_DOUBLE_EQ(losses[1], 45.5);
    EXPECT_DOUBLE_EQ(losses[3], 95.5);
  }
}

TEST(Grid, TheShorterRunAndTheLaterStartBoundIt) {
  const std::vector<RunData> runs = {run_with_lines(10, 100), run_with_lines(10, 80, 20)};
  const std::vector<Stretch> grid = shared_stretches(pointers(runs));
  EXPECT_EQ(grid.front().first_step, 21);
  EXPECT_EQ(grid.back().last_step, 80);
  EXPECT_EQ(losses_on(runs[0], grid), losses_on(runs[1], grid));
}

TEST(Grid, ARunThatEndsBeforeHasNoLossesThere) {
  const std::vector<RunData> runs = {run_with_lines(10, 40)};
  const std::vector<double> losses = losses_on(run_with_lines(5, 25), shared_stretches(pointers(runs)));
  ASSERT_EQ(losses.size(), 4U);
  EXPECT_DOUBLE_EQ(losses[1], 15.5);
  EXPECT_TRUE(std::isnan(losses[2]));  // 21..25 of 21..30
  EXPECT_TRUE(std::isnan(losses[3]));
}

TEST(Grid, RunsWithoutASharedStepAreRefused) {
  const std::vector<RunData> runs = {run_with_lines(10, 20), run_with_lines(10, 80, 30)};
  EXPECT_THROW(shared_stretches(pointers(runs)), core::UsageError);
}

TEST(Grid, WindowsAreFractionsFromTheEndOrSteps) {
  const std::vector<RunData> runs = {run_with_lines(5, 100)};
  const std::vector<Stretch> grid = shared_stretches(pointers(runs));
  EXPECT_EQ(select_window(grid, std::nullopt).first_step, 81);
  EXPECT_EQ(select_window(grid, std::nullopt).last_step, 100);
  EXPECT_EQ(select_window(grid, "0.5").first_step, 51);
  EXPECT_EQ(select_window(grid, "50%").first_step, 51);
  EXPECT_EQ(select_window(grid, "1").first_step, 1);
  EXPECT_EQ(select_window(grid, "0.001").first_step, 96);
  const Window inner = select_window(grid, "12:34");  // whole stretches only: 16..30
  EXPECT_EQ(inner.first_step, 16);
  EXPECT_EQ(inner.last_step, 30);
  for (const char* wrong : {"", "0", "1.5", "x", "200:300", "30:12", "1:", "12:13", "-0.5", "nan"}) {
    EXPECT_THROW(select_window(grid, wrong), core::UsageError) << wrong;
  }
}

}  // namespace
}  // namespace ssgpt::report
