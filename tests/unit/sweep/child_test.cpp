#include "sweep/child.h"

#include "core/error.h"

#include <chrono>
#include <csignal>
#include <cstdlib>
#include <poll.h>
#include <thread>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace ssgpt::sweep {
namespace {

// Waits for the end; false where a minute does not suffice.
bool wait_for_end(Child& child) {
  for (int i = 0; i < 6000; ++i) {
    if (child.has_ended()) return true;
    pollfd one{.fd = child.descriptor(), .events = POLLIN, .revents = 0};
    if (one.fd < 0) std::this_thread::sleep_for(std::chrono::milliseconds(10));
    ::poll(&one, 1, 10);
  }
  return false;
}

Child shell(const std::string& script, const Child::Variables& variables = {}) {
  return Child("/bin/sh", {"sh", "-c", script}, variables);
}

TEST(LastError, IsTheLastErrorOfTheLogWithAllItsLines) {
  EXPECT_EQ(
      last_error_in("12:00:00 step 1\n12:00:01 error: first\n12:00:02 error: second:\n  x: 1\n  y: 2\n"),
      "second:\n  x: 1\n  y: 2");
  EXPECT_EQ(last_error_in("12:00:00 error: alone"), "alone");
  EXPECT_EQ(last_error_in("no error: in the log's form\nterminate called\n\n"), "terminate called");
  EXPECT_EQ(last_error_in("\n"), "");
}

TEST(Child, SaysHowItEndedAndWhatItWrote) {
  Child child = shell("echo out; echo '12:00:00 error: bad' >&2; exit 3");
  ASSERT_TRUE(wait_for_end(child));
  EXPECT_EQ(child.ending().exit_code, 3);
  EXPECT_EQ(child.ending().signal, 0);
  EXPECT_EQ(child.last_error(), "bad");
}

TEST(Child, SaysWhichSignalKilledIt) {
  Child child = shell("kill -KILL $$");
  ASSERT_TRUE(wait_for_end(child));
  EXPECT_EQ(child.ending().signal, SIGKILL);
}

TEST(Child, HasTheVariablesAndNoneOfALauncher) {
  ::setenv("RANK", "1", 1);
  ::setenv("OMP_NUM_THREADS", "7", 1);
  ::setenv("SLURM_PROCID", "0", 1);
  Child child = shell("echo \"$RANK:$SLURM_PROCID:$OMP_NUM_THREADS:$(env | grep -c ^OMP_NUM_THREADS)\"",
                      {{"OMP_NUM_THREADS", "2"}});
  ::unsetenv("RANK");
  ::unsetenv("SLURM_PROCID");
  ::unsetenv("OMP_NUM_THREADS");
  ASSERT_TRUE(wait_for_end(child));
  EXPECT_EQ(child.last_error(), "::2:1");
}

TEST(Child, IsInAProcessGroupOfItsOwn) {
  Child child = shell("[ $(cut -d' ' -f5 /proc/$$/stat) = $$ ] && echo own");
  ASSERT_TRUE(wait_for_end(child));
  EXPECT_EQ(child.last_error(), "own");
}

TEST(Child, MuchOutputIsTakenAndItsEndKept) {
  Child child = shell(
      "i=0; while [ $i -lt 20000 ]; do echo 'a line of the log "
      "that is long enough'; i=$((i+1)); done; echo last");
  for (int i = 0; i < 6000 && !child.has_ended(); ++i) {
    child.read_output();
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  ASSERT_TRUE(child.has_ended());
  EXPECT_EQ(child.last_error(), "last");
}

TEST(Child, AProgramThatIsNotThereIsAnError) {
  EXPECT_THROW(Child("/nowhere/program", {"program"}, {}), core::RunError);
}

}  // namespace
}  // namespace ssgpt::sweep
