#include "checkpoint/checkpoint.h"
#include "checkpoint/snapshots.h"
#include "core/error.h"
#include "core/temporary_directory.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace ssgpt::checkpoint {
namespace {

using config::AttentionKind;

void write_step(const std::filesystem::path& run, int64_t step) {
  write(step_directory(run, step), random_snapshot(AttentionKind::kSsmax, step));
}

TEST(RunCheckpoints, AreListedByStepAndForeignDirectoriesAreNot) {
  const TemporaryDirectory run;
  EXPECT_TRUE(list(run.path()).empty());
  for (const int64_t step : {300, 20, 100}) {
    write_step(run.path(), step);
  }
  const auto parent = run / "checkpoints";
  for (const char* name :
       {"step-100", "step-00000100-copy", "best", "step-00000400"}) {  // the last has no manifest
    std::filesystem::create_directory(parent / name);
  }
  EXPECT_EQ(step_directory(run.path(), 300).filename(), "step-00000300");
  std::vector<int64_t> steps;
  for (const Entry& entry : list(run.path())) {
    steps.push_back(entry.step);
  }
  EXPECT_THAT(steps, testing::ElementsAre(20, 100, 300));
}

TEST(RunCheckpoints, TheNewestValidOnePassesOverDamagedOnes) {
  const TemporaryDirectory run;
  for (const int64_t step : {1, 2, 3}) {
    write_step(run.path(), step);
  }
  EXPECT_EQ(find_newest_valid(run.path())->step, 3);
  flip_byte(step_directory(run.path(), 3) / "model.safetensors", 1000);
  testing::internal::CaptureStderr();
  EXPECT_EQ(find_newest_valid(run.path())->step, 2);
  EXPECT_THAT(testing::internal::GetCapturedStderr(), testing::HasSubstr("step-00000003"));
  std::filesystem::remove(step_directory(run.path(), 2) / "trainer" / "state.json");
  EXPECT_EQ(find_newest_valid(run.path())->step, 1);
}

TEST(RunCheckpoints, WhereNoneVerifiesARunIsNotTakenForNew) {
  const TemporaryDirectory run;
  EXPECT_FALSE(find_newest_valid(run.path()).has_value());
  std::filesystem::create_directories(run / "checkpoints");
  EXPECT_FALSE(find_newest_valid(run.path()).has_value());
  write_step(run.path(), 1);
  flip_byte(step_directory(run.path(), 1) / "config.json", 3);
  EXPECT_THROW(find_newest_valid(run.path()), core::InputError);
  std::filesystem::remove(step_directory(run.path(), 1) / "manifest.json");
  EXPECT_THROW(find_newest_valid(run.path()), core::InputError);
}

}  // namespace
}  // namespace ssgpt::checkpoint
