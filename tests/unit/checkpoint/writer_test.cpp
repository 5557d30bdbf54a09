#include "checkpoint/checkpoint.h"
#include "checkpoint/snapshots.h"
#include "core/temporary_directory.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace ssgpt::checkpoint {
namespace {

using config::AttentionKind;
using testing::ElementsAre;

std::vector<int64_t> steps_of(const std::filesystem::path& run) {
  std::vector<int64_t> steps;
  for (const run::Checkpoint& entry : run::RunDirectory(run).complete_checkpoints()) {
    steps.push_back(entry.step);
  }
  return steps;
}

void save_steps(Writer& writer, const std::vector<int64_t>& steps) {
  for (const int64_t step : steps) {
    writer.save(random_snapshot(AttentionKind::kSsmax, step, static_cast<uint64_t>(step)));
  }
  writer.wait();
}

class WriterMode : public testing::TestWithParam<bool> {};

TEST_P(WriterMode, SavesWhatTheTensorsWereAtTheCall) {
  const TemporaryDirectory run;
  Writer writer(run::RunDirectory(run.path()), {.keep_last = 5, .keep_every = 0}, /*async=*/GetParam(),
                /*verify=*/true);
  Snapshot live = random_snapshot(AttentionKind::kSsmaxBias, 1);
  const Snapshot before = random_snapshot(AttentionKind::kSsmaxBias, 1);
  writer.save(live);
  live.flat.master.zero_();  // training goes on while the thread writes
  live.flat.exp_avg.zero_();
  live.trainer->step = 2;
  writer.save(live);
  writer.wait();
  expect_equal_tensors(before.flat, read(run::RunDirectory(run.path()).checkpoint(1), true).flat,
                       /*moments=*/true);
  expect_equal_tensors(live.flat, read(run::RunDirectory(run.path()).checkpoint(2), true).flat,
                       /*moments=*/true);
}

TEST_P(WriterMode, TheStagingFollowsASwapOfTheAttention) {
  const TemporaryDirectory run;
  Writer writer(run::RunDirectory(run.path()), {.keep_last = 5, .keep_every = 0}, GetParam(), true);
  for (const AttentionKind kind :
       {AttentionKind::kSoftmax, AttentionKind::kLearnedPn, AttentionKind::kSoftmax}) {
    const Snapshot live = random_snapshot(kind, 10 + static_cast<int64_t>(kind));
    writer.save(live);
    writer.wait();
    const Snapshot saved = read(run::RunDirectory(run.path()).checkpoint(live.trainer->step), true);
    EXPECT_EQ(saved.spec.config.attention.kind, kind);
    expect_equal_tensors(live.flat, saved.flat, /*moments=*/true);
  }
}

TEST_P(WriterMode, KeepsTheLastAndEachThatIsDueToStay) {
  const TemporaryDirectory run;
  Writer writer(run::RunDirectory(run.path()), {.keep_last = 2, .keep_every = 40}, GetParam(), true);
  save_steps(writer, {10, 20, 30, 40, 50, 60, 70});
  EXPECT_THAT(steps_of(run.path()), ElementsAre(40, 60, 70));
}
INSTANTIATE_TEST_SUITE_P(Async, WriterMode, testing::Bool());

TEST(Writer, KeepsOneEvenWhereNoneIsAskedFor) {
  const TemporaryDirectory run;
  Writer writer(run::RunDirectory(run.path()), {.keep_last = 0, .keep_every = 0}, true, false);
  save_steps(writer, {1, 2});
  EXPECT_THAT(steps_of(run.path()), ElementsAre(2));
}

TEST(Writer, DamagedLaterCheckpointsCostNoGoodOne) {
  const TemporaryDirectory run;
  for (const int64_t step : {100, 200, 300}) {
    write(run::RunDirectory(run.path()).checkpoint(step), random_snapshot(AttentionKind::kSsmax, step));
  }
  flip_byte(run::RunDirectory(run.path()).checkpoint(200) / "config.json", 5);
  flip_byte(run::RunDirectory(run.path()).checkpoint(300) / "config.json", 5);
  Writer writer(run::RunDirectory(run.path()), {.keep_last = 2, .keep_every = 0}, true,
                true);  // the run resumed from step 100
  save_steps(writer, {150});
  EXPECT_THAT(steps_of(run.path()), ElementsAre(100, 150, 200, 300));
  save_steps(writer, {200});  // takes the place of the damaged one
  EXPECT_TRUE(verify(run::RunDirectory(run.path()).checkpoint(200)).empty());
  EXPECT_THAT(steps_of(run.path()), ElementsAre(150, 200, 300));
}

TEST(Writer, DeletesNothingThatAnotherRunSaved) {
  const TemporaryDirectory run;
  Snapshot foreign = random_snapshot(AttentionKind::kSsmax, 5);
  foreign.trainer->run_id = "another";
  write(run::RunDirectory(run.path()).checkpoint(5), foreign);
  write(run::RunDirectory(run.path()).checkpoint(6), random_snapshot(AttentionKind::kSsmax, 7));  // renamed
  Writer writer(run::RunDirectory(run.path()), {.keep_last = 1, .keep_every = 0}, true, true);
  save_steps(writer, {10, 20});
  EXPECT_THAT(steps_of(run.path()), ElementsAre(5, 6, 20));
}

TEST(Writer, WhatCannotBeDeletedJustNowEndsNoRunAndGoesLater) {
  for (const bool async : {false, true}) {
    const TemporaryDirectory run;
    const std::filesystem::path circle = run::RunDirectory(run.path()).checkpoint(5) / "manifest.json";
    Writer writer(run::RunDirectory(run.path()), {.keep_last = 1, .keep_every = 0}, async, true);
    save_steps(writer, {10});
    std::filesystem::create_directories(circle.parent_path());
    std::filesystem::create_symlink(circle.filename(), circle);  // no call says what it is
    testing::internal::CaptureStderr();
    EXPECT_NO_THROW(save_steps(writer, {20}));
    EXPECT_THAT(testing::internal::GetCapturedStderr(), testing::HasSubstr("kept until the next save"));
    std::filesystem::remove_all(circle.parent_path());
    EXPECT_THAT(steps_of(run.path()), ElementsAre(10, 20));
    save_steps(writer, {30});
    EXPECT_THAT(steps_of(run.path()), ElementsAre(30));
  }
}

TEST(Writer, RemovesWhatAKilledProcessLeftAndNothingElse) {
  const TemporaryDirectory run;
  const auto parent = run / "checkpoints";
  std::filesystem::create_directories(parent / ".step-00000300.tmp-999999-4" / "trainer");
  write_bytes(parent / ".step-00000300.tmp-999999-4" / "model.safetensors", "half");
  const std::vector<std::string> foreign = {"best", "step-00000001", ".notes.tmp-1-1", "step-1"};
  for (const std::string& name : foreign) {
    std::filesystem::create_directories(parent / name);
    write_bytes(parent / name / "mine.txt", "x");
  }
  Writer writer(run::RunDirectory(run.path()), {.keep_last = 1, .keep_every = 0}, true, true);
  save_steps(writer, {2, 3});
  EXPECT_FALSE(std::filesystem::exists(parent / ".step-00000300.tmp-999999-4"));
  for (const std::string& name : foreign) {
    EXPECT_TRUE(std::filesystem::exists(parent / name / "mine.txt")) << name;
  }
  EXPECT_THAT(steps_of(run.path()), ElementsAre(3));
}

TEST(Writer, AMissingTokenizerDoesNotCostTheWeights) {
  const TemporaryDirectory run;
  Writer writer(run::RunDirectory(run.path()), {}, false, true);
  Snapshot live = random_snapshot(AttentionKind::kSsmax, 1);
  live.tokenizer = run / "gone.model";
  writer.save(live);
  EXPECT_THAT(steps_of(run.path()), ElementsAre(1));
  EXPECT_FALSE(read_summary(run::RunDirectory(run.path()).checkpoint(1)).tokenizer.has_value());
}

}  // namespace
}  // namespace ssgpt::checkpoint
