// The scheduler with small scripts in place of trainings: each makes the checkpoint by which it counts as
// done.
#include "sweep/scheduler.h"

#include "core/process_limits.h"
#include "core/temporary_directory.h"

#include <chrono>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <memory>
#include <sstream>
#include <string>
#include <vector>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace ssgpt::sweep {
namespace {

namespace fs = std::filesystem;
using testing::Each;
using testing::ElementsAre;
using testing::HasSubstr;

constexpr const char* kFinish =
    "mkdir -p checkpoints/step-00000010 && echo {} >checkpoints/step-00000010/manifest.json";

class SchedulerTest : public testing::Test {
 protected:
  // `script` runs in the run's folder.
  void add(const std::string& name, const std::string& script) {
    fs::create_directories(root_ / name);
    const run::RunDirectory directory(root_ / name);
    tasks_.push_back({.name = name,
                      .directory = directory,
                      .program = "/bin/sh",
                      .arguments = {"sh", "-c", "cd " + directory.path().string() + " && " + script},
                      .status = status_on_disk(directory, /*max_steps=*/10)});
  }

  int run(
      int64_t jobs, const std::function<int()>& stop = [] { return 0; }) {
    Scheduler scheduler(tasks_, {.jobs = jobs, .threads = 1, .gpus = gpus_, .warning = {}},
                        /*on_terminal=*/false);
    const int signal = scheduler.run(stop);
    statuses_ = scheduler.statuses();
    return signal;
  }

  std::vector<State> states() const {
    std::vector<State> list;
    for (const Status& status : statuses_) list.push_back(status.state);
    return list;
  }

  std::string read(const std::string& name) const {
    std::ostringstream text;
    text << std::ifstream(root_ / name).rdbuf();
    return text.str();
  }

  const TemporaryDirectory root_;
  std::vector<Task> tasks_;
  std::vector<std::string> gpus_;
  std::vector<Status> statuses_;
};

TEST_F(SchedulerTest, StartsInOrderAsManyAsThereIsRoomFor) {
  for (const char* name : {"a", "b", "c"})
    add(name, fmt::format("echo {}+ >>../order; {}; echo {}- >>../order", name, kFinish, name));
  EXPECT_EQ(run(1), 0);
  EXPECT_THAT(states(), ElementsAre(State::kDone, State::kDone, State::kDone));
  EXPECT_EQ(read("order"), "a+\na-\nb+\nb-\nc+\nc-\n");
}

TEST_F(SchedulerTest, JobsRunAtTheSameTime) {
  const std::string meet =
      "echo >here; while [ ! -e ../{}/here ]; do sleep 0.01; done; ";  // each waits for the other
  add("a", fmt::format(fmt::runtime(meet), "b") + kFinish);
  add("b", fmt::format(fmt::runtime(meet), "a") + kFinish);
  EXPECT_EQ(run(2), 0);
  EXPECT_THAT(states(), ElementsAre(State::kDone, State::kDone));
}

TEST_F(SchedulerTest, ARunThatEndsWhileAnotherIsFinishedIsNotForgotten) {
  add("a", "while [ ! -e ../b/ends ]; do sleep 0.001; done; " + std::string(kFinish));
  add("b", "touch ends; " + std::string(kFinish));
  // To look for b's newest checkpoint takes longer than a needs to end.
  for (int step = 11; step < 2000; ++step) fs::create_directories(tasks_[1].directory.checkpoint(step));
  EXPECT_EQ(run(2), 0);
  EXPECT_THAT(states(), Each(State::kDone));
}

TEST_F(SchedulerTest, EachRunningOneHasAGpuOfItsOwn) {
  gpus_ = {"4", "6"};
  const std::string meet =
      "echo $CUDA_VISIBLE_DEVICES >here; while [ ! -e ../{}/here ]; do sleep 0.01; done; ";
  add("a", fmt::format(fmt::runtime(meet), "b") + kFinish);
  add("b", fmt::format(fmt::runtime(meet), "a") + kFinish);
  EXPECT_EQ(run(2), 0);
  EXPECT_EQ(read("a/here"), "4\n");
  EXPECT_EQ(read("b/here"), "6\n");
}

TEST(StatusOrEarlier, OfAFolderThatCannotBeLookedAtIsTheEarlierOne) {
  const TemporaryDirectory root;
  const run::RunDirectory directory(root.path());
  fs::create_directories(directory.checkpoint(10));
  std::ofstream(directory.checkpoint(10) / "manifest.json") << "{}";
  for (const State state : {State::kWaiting, State::kElsewhere, State::kRunning}) {
    const Status earlier{
        .state = state, .step = 3, .max_steps = 10, .loss = 2.5, .eta_seconds = 1.0, .reason = {}};
    const auto fails = [&] {
      const NoMoreFiles none;
      return status_or_earlier(directory, earlier);
    };
    const Status kept = fails();
    EXPECT_EQ(kept.state, state);
    EXPECT_EQ(kept.step, 3);
    EXPECT_EQ(kept.loss, 2.5);
    EXPECT_EQ(status_or_earlier(directory, earlier).state, State::kDone);
  }
}

TEST_F(SchedulerTest, AFailureStopsNoOther) {
  add("a", "echo '12:00:00 error: the disk is full' >&2; exit 1");
  add("b", "exit 0");  // without its last step
  add("c", kFinish);
  EXPECT_EQ(run(1), 0);
  EXPECT_THAT(states(), ElementsAre(State::kFailed, State::kFailed, State::kDone));
  EXPECT_EQ(statuses_[0].reason, "the disk is full");
  EXPECT_THAT(statuses_[1].reason, HasSubstr("ended before the last step"));
}

TEST_F(SchedulerTest, WhatASignalKilledIsStartedOnceMore) {
  add("once", fmt::format("[ -e second ] || {{ echo >second; kill -KILL $$; }}; {}", kFinish));
  add("twice", "echo x >>starts; kill -KILL $$");
  EXPECT_EQ(run(1), 0);
  EXPECT_THAT(states(), ElementsAre(State::kDone, State::kFailed));
  EXPECT_EQ(read("twice/starts"), "x\nx\n");
  EXPECT_THAT(statuses_[1].reason, HasSubstr("signal 9"));
}

TEST_F(SchedulerTest, AStopReachesEachProcessOnceAndStartsNoOther) {
  for (const char* name : {"a", "b"}) {
    add(name, "trap 'echo x >>stops; exit 130' INT; echo >begun; while :; do sleep 0.05; done");
  }
  add("c", kFinish);
  const auto stop = [this] {
    return fs::exists(root_ / "a/begun") && fs::exists(root_ / "b/begun") ? SIGINT : 0;
  };
  EXPECT_EQ(run(2, stop), SIGINT);
  EXPECT_THAT(states(), ElementsAre(State::kStopped, State::kStopped, State::kWaiting));
  EXPECT_EQ(read("a/stops"), "x\n");
  EXPECT_EQ(read("b/stops"), "x\n");
}

TEST_F(SchedulerTest, ThreadsAreBoundToCoresOnlyWhereOneRunsAtATime) {
  for (const char* name : {"OMP_PROC_BIND", "OMP_PLACES", "GOMP_CPU_AFFINITY"}) ::setenv(name, "x", 1);
  const std::string tell = "echo \"$OMP_PROC_BIND:$OMP_PLACES:$GOMP_CPU_AFFINITY\" >here; ";
  add("a", tell + kFinish);
  add("b", tell + kFinish);
  EXPECT_EQ(run(1), 0);
  EXPECT_EQ(read("a/here"), "x:x:x\n");
  for (Task& task : tasks_) fs::remove_all(task.directory.checkpoints());
  EXPECT_EQ(run(2), 0);
  EXPECT_EQ(read("a/here"), "::\n");
  EXPECT_EQ(read("b/here"), "::\n");
  for (const char* name : {"OMP_PROC_BIND", "OMP_PLACES", "GOMP_CPU_AFFINITY"}) ::unsetenv(name);
}

// A file in the place of the folder of the checkpoints cannot be listed: that run fails, and the other, whose
// process runs meanwhile, goes on to its end.
TEST_F(SchedulerTest, AFolderThatCannotBeReadFailsItsRunAlone) {
  add("waits", kFinish);
  add("breaks", "echo >checkpoints; echo >../broken");
  add("good", fmt::format("while [ ! -e ../broken ]; do sleep 0.01; done; sleep 1; {}", kFinish));
  std::ofstream(root_ / "waits/checkpoints") << "a file";
  EXPECT_EQ(run(2), 0);
  EXPECT_THAT(states(), ElementsAre(State::kFailed, State::kFailed, State::kDone));
  EXPECT_THAT(statuses_[0].reason, HasSubstr("waits/checkpoints: the folder cannot be listed"));
  EXPECT_THAT(statuses_[1].reason, HasSubstr("breaks/checkpoints: the folder cannot be listed"));
}

TEST_F(SchedulerTest, FinishedRunsStartNothing) {
  add("a", "echo >started");
  fs::create_directories(root_ / "a/checkpoints/step-00000010");
  std::ofstream(root_ / "a/checkpoints/step-00000010/manifest.json") << "{}";
  tasks_[0].status = status_on_disk(tasks_[0].directory, 10);
  EXPECT_EQ(run(1), 0);
  EXPECT_THAT(states(), ElementsAre(State::kDone));
  EXPECT_FALSE(fs::exists(root_ / "a/started"));
}

TEST_F(SchedulerTest, WhatAnotherProcessTrainsIsWaitedForAndThenTaken) {
  add("a", kFinish);
  auto lock = std::make_unique<run::Lock>(tasks_[0].directory);
  tasks_[0].status = status_on_disk(tasks_[0].directory, 10);
  ASSERT_EQ(tasks_[0].status.state, State::kElsewhere);
  add("b", "echo >../b_ran; " + std::string(kFinish));
  const auto release_after_b = [&] {  // called before each look
    if (fs::exists(root_ / "b_ran") && !fs::exists(root_ / "a/checkpoints")) lock.reset();
    return 0;
  };
  EXPECT_EQ(run(1, release_after_b), 0);
  EXPECT_THAT(states(), ElementsAre(State::kDone, State::kDone));
}

}  // namespace
}  // namespace ssgpt::sweep
