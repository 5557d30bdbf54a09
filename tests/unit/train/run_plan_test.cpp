#include "train/run_plan.h"

#include "core/error.h"

#include <gtest/gtest.h>

namespace ssgpt::train {
namespace {

using config::AttentionKind;

TEST(ScheduledKind, ChangesWithTheFirstUpdateAfterTheSwap) {
  config::Config config;
  config.model.attention.kind = AttentionKind::kSoftmax;
  EXPECT_EQ(scheduled_kind(config, 1), AttentionKind::kSoftmax);
  EXPECT_EQ(scheduled_kind(config, 1000), AttentionKind::kSoftmax);
  config.train.swap_attention = {.at_step = 10, .kind = AttentionKind::kSsmax};
  EXPECT_EQ(scheduled_kind(config, 10), AttentionKind::kSoftmax);
  EXPECT_EQ(scheduled_kind(config, 11), AttentionKind::kSsmax);
}

TEST(RunPlan, RefusesOptionsThatContradictEachOther) {
  TrainOptions options;
  EXPECT_THROW(plan_run(options), core::UsageError);  // neither config nor resume
  options.resume = "somewhere";
  options.init_from = "elsewhere";
  EXPECT_THROW(plan_run(options), core::UsageError);
  options.init_from.reset();
  options.resume = "auto";  // which run?
  EXPECT_THROW(plan_run(options), core::UsageError);
}

}  // namespace
}  // namespace ssgpt::train
