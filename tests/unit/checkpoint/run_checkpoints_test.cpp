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
  write(run::RunDirectory(run).checkpoint(step), random_snapshot(AttentionKind::kSsmax, step));
}

TEST(RunCheckpoints, TheNewestValidOnePassesOverDamagedOnes) {
  const TemporaryDirectory run;
  for (const int64_t step : {1, 2, 3}) {
    write_step(run.path(), step);
  }
  EXPECT_EQ(find_newest_valid(run::RunDirectory(run.path()))->step, 3);
  flip_byte(run::RunDirectory(run.path()).checkpoint(3) / "model.safetensors", 1000);
  testing::internal::CaptureStderr();
  EXPECT_EQ(find_newest_valid(run::RunDirectory(run.path()))->step, 2);
  EXPECT_THAT(testing::internal::GetCapturedStderr(), testing::HasSubstr("step-00000003"));
  std::filesystem::remove(run::RunDirectory(run.path()).checkpoint(2) / "trainer" / "state.json");
  EXPECT_EQ(find_newest_valid(run::RunDirectory(run.path()))->step, 1);
}

TEST(RunCheckpoints, WhereNoneVerifiesARunIsNotTakenForNew) {
  const TemporaryDirectory run;
  EXPECT_FALSE(find_newest_valid(run::RunDirectory(run.path())).has_value());
  std::filesystem::create_directories(run / "checkpoints");
  EXPECT_FALSE(find_newest_valid(run::RunDirectory(run.path())).has_value());
  write_step(run.path(), 1);
  flip_byte(run::RunDirectory(run.path()).checkpoint(1) / "config.json", 3);
  EXPECT_THROW(find_newest_valid(run::RunDirectory(run.path())), core::InputError);
  std::filesystem::remove(run::RunDirectory(run.path()).checkpoint(1) / "manifest.json");
  EXPECT_THROW(find_newest_valid(run::RunDirectory(run.path())), core::InputError);
}

}  // namespace
}  // namespace ssgpt::checkpoint
