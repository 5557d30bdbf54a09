#include "sweep/status_board.h"

#include <limits>
#include <optional>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace ssgpt::sweep {
namespace {

using testing::ElementsAre;

Status status(State state, int64_t step = 0, std::optional<double> loss = std::nullopt) {
  return {.state = state,
          .step = step,
          .max_steps = 200,
          .loss = loss,
          .eta_seconds = std::nullopt,
          .reason = {}};
}

Status failed(const std::string& reason) {
  Status one = status(State::kFailed, 7);
  one.reason = reason;
  return one;
}

TEST(StatusBoard, HasALineForEachRunAndOneForAll) {
  Status running = status(State::kRunning, 20, 3.25);
  running.eta_seconds = 61.0;
  EXPECT_THAT(
      board_lines({"a-seed1", "bb-seed1", "a-seed2", "bb-seed2", "c"},
                  {status(State::kDone, 200, 2.5), running, status(State::kWaiting),
                   failed("the disk is full\nmore of it"), status(State::kWaiting, 100, std::nullopt)},
                  90.0, 24),
      ElementsAre("a-seed1   done       step 200/200   loss 2.5000",
                  "bb-seed1  running    step  20/200   loss 3.2500   ETA 1 min 01 s",  //
                  "a-seed2   waiting",                                                 //
                  "bb-seed2  failed     step 7: the disk is full",                     //
                  "c         waiting    step 100/200",
                  "1 of 5 runs done, 1 running, 2 waiting, 1 failed   ETA 1 min 30 s"));
}

TEST(StatusBoard, FitsTheTerminalWithWhatRunsOrFailed) {
  const std::vector<std::string> names = {"a", "b", "c", "d", "e", "f"};
  const std::vector<Status> statuses = {status(State::kDone, 200),   status(State::kDone, 200),
                                        status(State::kRunning, 20), failed("x"),
                                        status(State::kWaiting),     status(State::kRunning, 3)};
  EXPECT_THAT(
      board_lines(names, statuses, std::nullopt, 5),
      ElementsAre("c  running    step  20/200", "d  failed     step 7: x", "f  running    step   3/200",
                  "and 3 more: 1 waiting, 2 done", "2 of 6 runs done, 2 running, 1 waiting, 1 failed"));
  EXPECT_EQ(board_lines(names, statuses, std::nullopt, 7).size(), 7U);
  EXPECT_THAT(board_lines(names, statuses, std::nullopt, 2),
              ElementsAre("and 6 more: 1 failed, 2 running, 1 waiting, 2 done",
                          "2 of 6 runs done, 2 running, 1 waiting, 1 failed"));
}

TEST(StatusBoard, ALossThatIsNotFiniteIsSaid) {
  const Status one = status(State::kRunning, 5, std::numeric_limits<double>::quiet_NaN());
  EXPECT_THAT(board_lines({"a"}, {one}, std::nullopt, 9).front(), testing::HasSubstr("loss not finite"));
}

}  // namespace
}  // namespace ssgpt::sweep
