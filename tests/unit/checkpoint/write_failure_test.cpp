// Kills, full disks and directories that cannot be written: nothing half-written ever stands under a final
// name.
#include "checkpoint/checkpoint.h"
#include "checkpoint/directory.h"
#include "checkpoint/snapshots.h"
#include "core/error.h"
#include "core/process_limits.h"
#include "core/temporary_directory.h"

#include <atomic>
#include <csignal>
#include <iterator>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>

#include <gtest/gtest.h>

namespace ssgpt::checkpoint {
namespace {

using config::AttentionKind;

TEST(WriteFailure, AFullDiskLeavesNothing) {
  const TemporaryDirectory directory;
  {
    const FileSizeLimit limit(4096);  // config.json fits, model.safetensors does not
    EXPECT_THROW(write(directory / "c", random_snapshot(AttentionKind::kSsmax)), core::RunError);
  }
  EXPECT_TRUE(std::filesystem::is_empty(directory.path()));
}

TEST(WriteFailure, InTheBackgroundSurfacesAtTheNextCallAndTheOldOneStays) {
  const TemporaryDirectory run;
  Writer writer(run::RunDirectory(run.path()), {.keep_last = 1, .keep_every = 0}, /*async=*/true,
                /*verify=*/true);
  writer.save(random_snapshot(AttentionKind::kSsmax, 1));
  writer.wait();
  for (const bool by_wait : {true, false}) {
    const FileSizeLimit limit(4096);
    EXPECT_NO_THROW(writer.save(random_snapshot(AttentionKind::kSsmax, 2)));
    if (by_wait) {
      EXPECT_THROW(writer.wait(), core::RunError);
    } else {
      EXPECT_THROW(writer.save(random_snapshot(AttentionKind::kSsmax, 3)), core::RunError);
    }
    EXPECT_NO_THROW(writer.wait());  // told once
  }
  ASSERT_EQ(run::RunDirectory(run.path()).complete_checkpoints().size(), 1U);
  EXPECT_EQ(find_newest_valid(run::RunDirectory(run.path()))->step, 1);
  writer.save(random_snapshot(AttentionKind::kSsmax, 4));  // there is room again
  writer.wait();
  EXPECT_EQ(find_newest_valid(run::RunDirectory(run.path()))->step, 4);
}

TEST(WriteFailure, SynchronousSavingThrowsAtOnce) {
  const TemporaryDirectory run;
  Writer writer(run::RunDirectory(run.path()), {}, /*async=*/false, true);
  const FileSizeLimit limit(4096);
  EXPECT_THROW(writer.save(random_snapshot(AttentionKind::kSsmax, 1)), core::RunError);
}

// /proc/self refuses new directories also to root, whom permissions do not stop.
TEST(WriteFailure, APlaceThatCannotBeWrittenIsARunError) {
  EXPECT_THROW(write("/proc/self/c", random_snapshot(AttentionKind::kSsmax)), core::RunError);
  EXPECT_THROW(Writer(run::RunDirectory("/proc/self/run"), {}, true, true), core::RunError);
}

TEST(WriteFailure, AnExistingDirectoryIsNotTouched) {
  const TemporaryDirectory directory;
  std::filesystem::create_directory(directory / "empty");
  EXPECT_THROW(write(directory / "empty", random_snapshot(AttentionKind::kSsmax)), core::RunError);
  write(directory / "c", random_snapshot(AttentionKind::kSsmax, 1));
  EXPECT_THROW(write(directory / "c", random_snapshot(AttentionKind::kSsmax, 2)), core::RunError);
  EXPECT_EQ(read_summary(directory / "c").trainer->step, 1);
}

// At every moment one of the two stands under the name: a kill in between costs neither.
TEST(WriteFailure, AReplacedDirectoryNeverLeavesItsName) {
  const TemporaryDirectory directory;
  const std::filesystem::path path = directory / "c";
  write(path, random_snapshot(AttentionKind::kSsmax, 1));
  std::atomic<bool> done = false;
  std::atomic<int64_t> absent = 0;
  std::thread watcher([&] {
    while (!done) {
      if (::access((path / "manifest.json").c_str(), F_OK) != 0) ++absent;
    }
  });
  for (int64_t step = 2; step < 60; ++step) {
    write_directory(path, random_snapshot(AttentionKind::kSsmax, step), /*verify=*/false, IfExists::kReplace);
  }
  done = true;
  watcher.join();
  EXPECT_EQ(absent, 0);
  EXPECT_EQ(read_summary(path).trainer->step, 59);
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(directory.path()), {}), 1) << "litter";
}

// The child writes checkpoint after checkpoint until it is killed, at another moment each time; on a busy
// machine it takes more time to begin, and to complete one.
TEST(WriteFailure, AKillLeavesOnlyCompleteCheckpoints) {
  const TemporaryDirectory root;
  const run::RunDirectory run(root.path());
  bool interrupted = false;
  const auto has_seen_both = [&] {
    return interrupted && !run.complete_checkpoints().empty();
  };
  for (int attempt = 0; attempt < 12 || (!has_seen_both() && attempt < 100); ++attempt) {
    const Snapshot snapshot = random_snapshot(AttentionKind::kSsmax, 1);
    const pid_t child = fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      for (int64_t step = 100 * attempt;; ++step) {
        write(run.checkpoint(step), snapshot);
      }
    }
    for (int wait = 0; wait < 10'000 && !std::filesystem::exists(run.checkpoints()); ++wait) ::usleep(1000);
    ::usleep(static_cast<useconds_t>(7000 + 3100 * attempt));
    ::kill(child, SIGKILL);
    ::waitpid(child, nullptr, 0);
    for (const auto& entry : std::filesystem::directory_iterator(run.checkpoints())) {
      const bool temporary = entry.path().filename().string().front() == '.';
      interrupted = interrupted || temporary;
      if (!temporary) {
        EXPECT_TRUE(verify(entry.path()).empty()) << entry.path();
      }
    }
  }
  EXPECT_TRUE(interrupted) << "no kill hit a write: the test showed nothing";
  EXPECT_FALSE(run.complete_checkpoints().empty());
}

}  // namespace
}  // namespace ssgpt::checkpoint
