#include "optim/schedule.h"

#include <gtest/gtest.h>

namespace ssgpt::optim {
namespace {

config::OptimizerConfig optimizer(config::ScheduleKind kind, int64_t warmup, int64_t decay, double min_lr) {
  config::OptimizerConfig config;
  config.lr = 1.0;
  config.schedule = {.kind = kind, .warmup_steps = warmup, .decay_steps = decay, .min_lr = min_lr};
  return config;
}

TEST(LearningRate, WarmUpIsLinearAndEndsAtTheFullRate) {
  for (const auto kind :
       {config::ScheduleKind::kConstant, config::ScheduleKind::kCosine, config::ScheduleKind::kWsd}) {
    const auto config = optimizer(kind, 10, 20, 0.0);
    EXPECT_DOUBLE_EQ(learning_rate(config, 1, 100), 0.1);
    EXPECT_DOUBLE_EQ(learning_rate(config, 9, 100), 0.9);
    EXPECT_DOUBLE_EQ(learning_rate(config, 10, 100), 1.0);
  }
}

TEST(LearningRate, WithoutWarmUpTheFirstStepHasTheFullRate) {
  EXPECT_DOUBLE_EQ(learning_rate(optimizer(config::ScheduleKind::kConstant, 0, 0, 0.0), 1, 100), 1.0);
  EXPECT_DOUBLE_EQ(learning_rate(optimizer(config::ScheduleKind::kWsd, 0, 10, 0.0), 1, 100), 1.0);
  EXPECT_NEAR(learning_rate(optimizer(config::ScheduleKind::kCosine, 0, 0, 0.0), 1, 1000), 1.0, 1e-5);
}

TEST(LearningRate, ConstantStaysBeyondTheLastStep) {
  const auto config = optimizer(config::ScheduleKind::kConstant, 10, 0, 0.0);
  EXPECT_DOUBLE_EQ(learning_rate(config, 100, 100), 1.0);
  EXPECT_DOUBLE_EQ(learning_rate(config, 1000, 100), 1.0);
}

TEST(LearningRate, CosineReachesItsMinimumAtMaxSteps) {
  const auto config = optimizer(config::ScheduleKind::kCosine, 10, 0, 0.2);
  EXPECT_DOUBLE_EQ(learning_rate(config, 60, 110), 0.6);  // half way from 10 to 110: the mean of 1 and 0.2
  EXPECT_NEAR(learning_rate(config, 35, 110), 0.6 + 0.4 * 0.70710678118654752, 1e-15);  // cos(pi / 4)
  EXPECT_EQ(learning_rate(config, 110, 110), 0.2);
  EXPECT_GT(learning_rate(config, 109, 110), 0.2);
}

TEST(LearningRate, CosineWithDecayStepsIsIndependentOfMaxSteps) {
  const auto config = optimizer(config::ScheduleKind::kCosine, 10, 50, 0.1);
  EXPECT_DOUBLE_EQ(learning_rate(config, 30, 1000), 0.55);
  EXPECT_EQ(learning_rate(config, 50, 1000), 0.1);
  EXPECT_EQ(learning_rate(config, 51, 1000), 0.1);
  EXPECT_EQ(learning_rate(config, 1000, 1000), 0.1);
}

TEST(LearningRate, WsdFallsLinearlyOverTheLastSteps) {
  const auto config = optimizer(config::ScheduleKind::kWsd, 10, 20, 0.1);
  EXPECT_DOUBLE_EQ(learning_rate(config, 80, 100), 1.0);
  EXPECT_DOUBLE_EQ(learning_rate(config, 90, 100), 0.55);
  EXPECT_EQ(learning_rate(config, 100, 100), 0.1);
  EXPECT_DOUBLE_EQ(learning_rate(optimizer(config::ScheduleKind::kWsd, 10, 0, 0.1), 100, 100), 1.0);
}

// A run that trains beyond the end of its schedule, or stops before it.
TEST(LearningRate, TotalStepsStandsForMaxStepsWhereItIsSet) {
  for (const auto kind : {config::ScheduleKind::kCosine, config::ScheduleKind::kWsd}) {
    auto config = optimizer(kind, 10, kind == config::ScheduleKind::kWsd ? 20 : 0, 0.1);
    const auto by_max_steps = config;
    config.schedule.total_steps = 110;
    for (int64_t step = 1; step <= 110; ++step) {
      for (const int64_t max_steps : {50, 110, 500}) {
        EXPECT_EQ(learning_rate(config, step, max_steps), learning_rate(by_max_steps, step, 110)) << step;
      }
    }
    for (const int64_t step : {111, 500}) EXPECT_EQ(learning_rate(config, step, 500), 0.1);
  }
}

TEST(LearningRate, StepsBehindAChangeKeepTheScheduleThatTheyHad) {
  auto config = optimizer(config::ScheduleKind::kCosine, 10, 0, 0.2);
  config.schedule.total_steps = 210;
  config.schedule.earlier_total_steps = {{.until_step = 60, .total_steps = 110},
                                         {.until_step = 80, .total_steps = 150}};
  EXPECT_DOUBLE_EQ(learning_rate(config, 60, 300), 0.6);  // half way from 10 to 110: the mean of 1 and 0.2
  EXPECT_DOUBLE_EQ(learning_rate(config, 80, 300), 0.6);  // from 10 to 150
  EXPECT_DOUBLE_EQ(learning_rate(config, 110, 300), 0.6);
  EXPECT_EQ(learning_rate(config, 210, 300), 0.2);
}

}  // namespace
}  // namespace ssgpt::optim
