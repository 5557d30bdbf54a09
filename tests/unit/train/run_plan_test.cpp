#include "train/run_plan.h"

#include "core/error.h"

#include <optional>

#include <gtest/gtest.h>

namespace ssgpt::train {
namespace {

using config::AttentionKind;

using Swap = std::optional<config::SwapAttention>;

TEST(KindOfUpdate, ChangesWithTheFirstUpdateAfterTheSwap) {
  config::Config config;
  config.model.attention.kind = AttentionKind::kSoftmax;
  EXPECT_EQ(kind_of_update(config, Swap(), 1), AttentionKind::kSoftmax);
  EXPECT_EQ(kind_of_update(config, Swap(), 1000), AttentionKind::kSoftmax);
  config.train.swap_attention = {.at_step = 10, .kind = AttentionKind::kSsmax};
  EXPECT_EQ(kind_of_update(config, Swap(), 10), AttentionKind::kSoftmax);
  EXPECT_EQ(kind_of_update(config, Swap(), 11), AttentionKind::kSsmax);
}

TEST(KindOfUpdate, IsThatOfTheLaterSwapAndByHandOnATie) {
  config::Config config;
  config.model.attention.kind = AttentionKind::kSoftmax;
  config.train.swap_attention = {.at_step = 10, .kind = AttentionKind::kSsmax};
  const auto by_hand = [](int64_t at_step) {
    return Swap(config::SwapAttention{.at_step = at_step, .kind = AttentionKind::kSsmaxBias});
  };
  EXPECT_EQ(kind_of_update(config, by_hand(8), 8), AttentionKind::kSoftmax);
  EXPECT_EQ(kind_of_update(config, by_hand(8), 9), AttentionKind::kSsmaxBias);
  EXPECT_EQ(kind_of_update(config, by_hand(8), 11), AttentionKind::kSsmax);
  EXPECT_EQ(kind_of_update(config, by_hand(10), 11), AttentionKind::kSsmaxBias);
  EXPECT_EQ(kind_of_update(config, by_hand(15), 15), AttentionKind::kSsmax);
  EXPECT_EQ(kind_of_update(config, by_hand(15), 16), AttentionKind::kSsmaxBias);
}

TEST(RunPlan, RefusesOptionsThatContradictEachOther) {
  TrainOptions options;
  parallel::Board alone;
  EXPECT_THROW(plan_run(options, alone), core::UsageError);  // neither config nor resume
  options.resume = "somewhere";
  options.init_from = "elsewhere";
  EXPECT_THROW(plan_run(options, alone), core::UsageError);
  options.init_from.reset();
  options.resume = "auto";  // which run?
  EXPECT_THROW(plan_run(options, alone), core::UsageError);
}

}  // namespace
}  // namespace ssgpt::train
