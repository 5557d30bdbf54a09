#include "run/directory.h"

#include "core/error.h"
#include "core/temporary_directory.h"

#include <fcntl.h>
#include <fstream>
#include <optional>
#include <sys/file.h>
#include <unistd.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace ssgpt::run {
namespace {

std::vector<int64_t> steps_of(const std::vector<Checkpoint>& checkpoints) {
  std::vector<int64_t> steps;
  for (const Checkpoint& one : checkpoints) steps.push_back(one.step);
  return steps;
}

TEST(RunDirectory, ListsCheckpointsByStepAndNoForeignDirectories) {
  const TemporaryDirectory root;
  const RunDirectory run(root.path());
  EXPECT_TRUE(run.named_checkpoints().empty());
  for (const int64_t step : {300, 20, 100}) {
    std::filesystem::create_directories(run.checkpoint(step));
    std::ofstream(run.checkpoint(step) / kManifestName) << "{}";
  }
  for (const char* name :
       {"step-100", "step-00000100-copy", "best", "step-00000400"}) {  // the last: no manifest
    std::filesystem::create_directory(run.checkpoints() / name);
  }
  std::ofstream(run.checkpoints() / "step-00000500") << "a file";
  EXPECT_EQ(run.checkpoint(300).filename(), "step-00000300");
  EXPECT_THAT(steps_of(run.complete_checkpoints()), testing::ElementsAre(20, 100, 300));
  EXPECT_THAT(steps_of(run.named_checkpoints()), testing::ElementsAre(20, 100, 300, 400));
  EXPECT_EQ(run.complete_checkpoints().back().directory, run.checkpoint(300));
}

TEST(RunDirectory, HoldsARunOnceItsRecordOrACheckpointIsThere) {
  const TemporaryDirectory root;
  const RunDirectory run(root.path());
  std::filesystem::create_directory(run.checkpoints());
  std::ofstream(run.metrics()) << "{}\n";  // anybody's
  EXPECT_FALSE(run.holds_run());
  std::ofstream(run.record()) << "{}";
  EXPECT_TRUE(run.holds_run());
  std::filesystem::remove(run.record());
  std::filesystem::create_directory(run.checkpoint(7));
  EXPECT_TRUE(run.holds_run());
}

TEST(RunDirectory, AFolderOfCheckpointsThatIsAFileIsAnError) {
  const TemporaryDirectory root;
  std::ofstream(root / "checkpoints") << "";
  EXPECT_THROW(static_cast<void>(RunDirectory(root.path()).named_checkpoints()), core::InputError);
}

TEST(Lock, KeepsASecondOwnerOutUntilTheFirstIsGone) {
  const TemporaryDirectory root;
  const RunDirectory run(root.path());
  std::optional<Lock> first(std::in_place, run);
  EXPECT_THROW(Lock{run}, core::UsageError);
  first.reset();
  EXPECT_NO_THROW(Lock{run});
  EXPECT_THROW(Lock{RunDirectory(root / "absent")}, core::RunError);
}

TEST(Lock, IsSeenByOthersButTheyDoNotSeeEachOther) {
  const TemporaryDirectory root;
  const RunDirectory run(root.path());
  EXPECT_FALSE(is_locked(run));
  {
    const Lock lock(run);
    EXPECT_TRUE(is_locked(run));
  }
  const int descriptor = open(run.lock().c_str(), O_RDONLY | O_CLOEXEC);
  ASSERT_EQ(flock(descriptor, LOCK_SH | LOCK_NB), 0);  // as another process holds it while it asks
  EXPECT_FALSE(is_locked(run));
  close(descriptor);
}

}  // namespace
}  // namespace ssgpt::run
