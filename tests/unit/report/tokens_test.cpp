#include "report/tokens.h"

#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include <gtest/gtest.h>

namespace ssgpt::report {
namespace {

std::vector<Stretch> steps(size_t count) {
  std::vector<Stretch> grid;
  for (int64_t step = 1; step <= static_cast<int64_t>(count); ++step) grid.push_back({step, step, 64 * step});
  return grid;
}

// 5 - log(tokens / 64), reached after `ratio` times the tokens, and a ripple.
std::vector<double> losses(size_t count, double ratio, double ripple = 0.0) {
  std::vector<double> result;
  for (size_t step = 1; step <= count; ++step)
    result.push_back(5.0 - std::log(static_cast<double>(step) / ratio) + (step % 2 == 0 ? ripple : -ripple));
  return result;
}

TEST(Tokens, AFittedCurveIsTheLineInTheLogarithmOfTheTokens) {
  const std::vector<double> curve = losses(200, 1.0);
  const std::vector<double> fitted = fit_curve(curve, steps(200));
  ASSERT_EQ(fitted.size(), curve.size());
  for (size_t i = 0; i < curve.size(); ++i) EXPECT_NEAR(fitted[i], curve[i], 1e-9) << i;
}

// In a fit over 40 points a ripple of 0.2 leaves about 0.2 / 40; at the ends the line's slope adds four times
// that.
TEST(Tokens, AFitLeavesLittleOfTheNoise) {
  const std::vector<double> fitted = fit_curve(losses(200, 1.0, 0.2), steps(200));
  const std::vector<double> plain = losses(200, 1.0);
  for (size_t i = 20; i < plain.size(); ++i) EXPECT_NEAR(fitted[i], plain[i], 0.025) << i;
}

TEST(Tokens, OfTwoCurvesTheRatioOfTheirTokensIsFound) {
  const std::vector<Stretch> grid = steps(400);
  const std::vector<double> baseline = fit_curve(losses(400, 1.0), grid);
  const std::vector<double> candidate = fit_curve(losses(400, 0.8), grid);
  const LossRange range = shared_range({&candidate, &baseline});
  // From the candidate's loss at a quarter, step 101, to the baseline's last.
  EXPECT_NEAR(range.highest, 5.0 - std::log(101 / 0.8), 1e-9);
  EXPECT_NEAR(range.lowest, 5.0 - std::log(400.0), 1e-9);
  // The rule is exact but for the step in which the clamp begins: off by (1 / 100)^2 / 8 over a range of 1.2.
  EXPECT_NEAR(mean_log_tokens(candidate, grid, range) - mean_log_tokens(baseline, grid, range), std::log(0.8),
              2e-5);
}

TEST(Tokens, WhereALossIsNotFiniteOrNothingFallsThereAreNone) {
  const std::vector<Stretch> grid = steps(100);
  std::vector<double> broken = losses(100, 1.0);
  broken[30] = std::numeric_limits<double>::quiet_NaN();
  EXPECT_TRUE(fit_curve(broken, grid).empty());
  EXPECT_TRUE(fit_curve(losses(14, 1.0), steps(14)).empty());
  const std::vector<double> flat(100, 3.0);
  EXPECT_TRUE(std::isnan(shared_range({&flat}).lowest));
  EXPECT_TRUE(std::isnan(shared_range({}).lowest));
  EXPECT_TRUE(std::isnan(mean_log_tokens({}, grid, {.highest = 3.0, .lowest = 2.0})));
  EXPECT_TRUE(std::isnan(mean_log_tokens(flat, grid, shared_range({&flat}))));
}

}  // namespace
}  // namespace ssgpt::report
