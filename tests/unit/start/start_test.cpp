#include "start/start.h"

#include "core/error.h"

#include <gtest/gtest.h>

namespace ssgpt::start {
namespace {

TEST(BeginAlone, RefusesOptionsThatContradictEachOther) {
  Options options;
  EXPECT_THROW(begin_alone(options), core::UsageError);  // neither config nor resume
  options.resume = "somewhere";
  options.init_from = "elsewhere";
  EXPECT_THROW(begin_alone(options), core::UsageError);
  options.init_from.reset();
  options.resume = "auto";  // which run?
  EXPECT_THROW(begin_alone(options), core::UsageError);
}

TEST(Start, HasTheKindOfItsFirstUpdate) {
  Start start;
  start.config.model.attention.kind = config::AttentionKind::kSoftmax;
  start.config.train.swap_attention = {{.at_step = 20, .kind = config::AttentionKind::kSsmax}};
  start.config.train.max_steps = 21;
  start.state.step = 19;
  EXPECT_EQ(start.spec().config.attention.kind, config::AttentionKind::kSoftmax);
  start.state.step = 20;
  EXPECT_EQ(start.spec().config.attention.kind, config::AttentionKind::kSsmax);
  start.mode = Mode::kContinue;
  EXPECT_FALSE(start.is_complete());
  start.state.step = 21;
  EXPECT_TRUE(start.is_complete());
  start.mode = Mode::kFork;  // has a checkpoint of its own to write
  EXPECT_FALSE(start.is_complete());
}

}  // namespace
}  // namespace ssgpt::start
