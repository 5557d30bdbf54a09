// The figure of a point out of its trials, by hand.

#include "evaluation/trials.h"

#include "core/check.h"

#include <cmath>
#include <limits>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace ssgpt::evaluation {
namespace {

TEST(ValueOfTrials, IsTheirMeanAndItsError) {
  // Deviations -2, 0, 2 from 3: a variance of 8 / 2, over three trials.
  const report::PointValue value = value_of_trials({1.0, 3.0, 5.0}, /*tokens_of_each=*/7);
  EXPECT_DOUBLE_EQ(value.mean, 3.0);
  EXPECT_DOUBLE_EQ(value.standard_error, std::sqrt(4.0 / 3.0));
  EXPECT_EQ(value.tokens, 21);
  EXPECT_THAT(value.trials, testing::ElementsAre(1.0, 3.0, 5.0));
}

TEST(ValueOfTrials, DoesNotLoseASmallErrorOfALargeMean) {
  const report::PointValue value = value_of_trials({1e6, 1e6 + 1e-6}, 1);
  // The deviation is 1e-6 / sqrt(2), the error 1e-6 / 2; fp64 holds 1e6 to 1.2e-10.
  EXPECT_NEAR(value.standard_error, 0.5e-6, 1e-9);
}

TEST(ValueOfTrials, HasNoErrorForOneAndHandsOnWhatIsNotFinite) {
  EXPECT_EQ(value_of_trials({2.5}, 4).mean, 2.5);
  EXPECT_TRUE(std::isnan(value_of_trials({2.5}, 4).standard_error));
  EXPECT_TRUE(std::isnan(value_of_trials({2.5, std::nan("")}, 4).mean));
  const double infinity = std::numeric_limits<double>::infinity();
  EXPECT_EQ(value_of_trials({2.5, infinity}, 4).mean, infinity);
  EXPECT_THROW(value_of_trials({}, 4), core::InternalError);
}

}  // namespace
}  // namespace ssgpt::evaluation
