// The store and the heartbeat over the other ranks, whose main threads may do anything, or nothing.
#include "parallel/heartbeat.h"

#include "core/error.h"
#include "parallel/manual_clock.h"
#include "parallel/ranks.h"

#include <atomic>
#include <chrono>
#include <cstdio>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace ssgpt::parallel {
namespace {

using Seconds = std::chrono::duration<double>;
using testing::AllOf;
using testing::ContainsRegex;
using testing::HasSubstr;
using testing::MatchesRegex;

constexpr std::chrono::seconds kConnectTimeout{10};
constexpr Seconds kLong{600.0};
constexpr Seconds kTimeout{2.0};

double seconds_since(std::chrono::steady_clock::time_point begin) {
  return Seconds(std::chrono::steady_clock::now() - begin).count();
}

// The stores of all ranks, and their heartbeats, on one clock that the test moves.
class Heartbeats : public testing::Test {
 protected:
  void start(int64_t world_size, Seconds timeout) {
    const int64_t port = free_port();
    for (int64_t rank = 0; rank < world_size; ++rank) {
      stores_.push_back(Store::connect(environment_of(rank, world_size, port), kConnectTimeout));
      clock_->expect_threads(2);
      heartbeats_.push_back(
          std::make_unique<Heartbeat>(stores_.back()->reconnect(), rank, world_size, clock_));
      heartbeats_.back()->set_timeout(timeout);
    }
    // Past the first pause, which is half a second where it began before the timeout was set.
    clock_->pass(Seconds(0.5));
  }

  // Lets time pass until `done`, for `longest` at most; returns how much did.
  Seconds pass_until(const std::function<bool()>& done, Seconds longest) {
    const ManualClock::Time begin = clock_->now();
    while (!done() && clock_->now() - begin < longest) clock_->pass(Seconds(0.02));
    return clock_->now() - begin;
  }

  // Starts the main thread of a rank: time passes only while it waits.
  void begin(const std::function<void()>& body) {
    clock_->expect_threads(1);
    ++running_;
    threads_.emplace_back([this, body] {
      clock_->know_this_thread();
      body();
      --running_;
    });
  }

  // Until all of these have ended.
  Seconds pass_until_they_end(Seconds longest) {
    const Seconds passed = pass_until([this] { return running_ == 0; }, longest);
    for (std::thread& thread : threads_) thread.join();
    threads_.clear();
    return passed;
  }

  // Waits for the failure that `rank` knows of. Soon after one a process ends whose main thread does not: the
  // longer timeout gives the test time to look at it.
  std::optional<std::string> wait_for_failure(size_t rank, Seconds longest) {
    pass_until([&] { return heartbeats_[rank]->failure().has_value(); }, longest);
    for (const auto& heartbeat : heartbeats_) {
      if (heartbeat) heartbeat->set_timeout(kLong);
    }
    return heartbeats_[rank]->failure();
  }

  const std::shared_ptr<ManualClock> clock_ = std::make_shared<ManualClock>();
  std::vector<std::unique_ptr<Store>> stores_;
  std::vector<std::unique_ptr<Heartbeat>> heartbeats_;  // end before the stores
  std::vector<std::thread> threads_;
  std::atomic<int> running_ = 0;  // of these
};

TEST_F(Heartbeats, ARankThatFallsSilentIsLostAfterThreeQuartersOfTheTimeout) {
  start(3, kTimeout);
  clock_->pass(Seconds(0.7));
  for (const auto& heartbeat : heartbeats_) EXPECT_EQ(heartbeat->failure(), std::nullopt);
  heartbeats_[1].reset();
  const ManualClock::Time silent = clock_->now();
  const std::optional<std::string> failure = wait_for_failure(0, Seconds(10.0));
  // Ranks speak and listen every 1.5 s / 8: the last word may be as old as that, be heard as late, and be
  // missed as late.
  const double lost_after = Seconds(clock_->now() - silent).count();
  EXPECT_GT(lost_after, 1.5 - 0.19);
  EXPECT_LT(lost_after, 1.5 + 2 * 0.19 + 0.02);
  ASSERT_TRUE(failure);
  EXPECT_THAT(*failure,
              AllOf(HasSubstr("Rank 1 is lost"), ContainsRegex("nothing was heard of it for 1\\.[567] s")));
  EXPECT_EQ(wait_for_failure(2, Seconds(0.4)), failure);  // who does not listen to rank 1 hears of it as well
}

TEST_F(Heartbeats, RankZeroIsMissedToo) {
  start(2, kTimeout);
  heartbeats_[0].reset();  // its store still answers
  EXPECT_THAT(wait_for_failure(1, Seconds(10.0)).value_or("none"), HasSubstr("Rank 0 is lost"));
}

TEST_F(Heartbeats, RanksThatOnlyComputeAreNotLost) {
  start(3, kTimeout);
  clock_->pass(Seconds(20.0));
  for (const auto& heartbeat : heartbeats_) EXPECT_EQ(heartbeat->failure(), std::nullopt);
}

TEST_F(Heartbeats, BeforeTheTimeoutIsKnownARankMayBeSilentFor45Seconds) {
  const int64_t port = free_port();
  const auto zero = Store::connect(environment_of(0, 2, port), kConnectTimeout);
  const auto one = Store::connect(environment_of(1, 2, port), kConnectTimeout);
  clock_->expect_threads(4);
  Heartbeat listener(zero->reconnect(), 0, 2, clock_);
  auto speaker = std::make_unique<Heartbeat>(one->reconnect(), 1, 2, clock_);
  clock_->pass(Seconds(1.0));
  speaker.reset();
  clock_->pass(Seconds(43.0));
  EXPECT_EQ(listener.failure(), std::nullopt);
  clock_->pass(Seconds(4.0));
  EXPECT_THAT(listener.failure().value_or("none"), HasSubstr("Rank 1 is lost"));
}

TEST_F(Heartbeats, AfterAFailedCollectiveASilentRankIsFoundInSeconds) {
  start(3, kLong);
  heartbeats_[1].reset();
  std::string reason;
  begin([&] { reason = heartbeats_[2]->explain("no reason"); });
  const Seconds passed = pass_until_they_end(Seconds(15.0));
  EXPECT_THAT(reason, HasSubstr("Rank 1 is lost"));
  EXPECT_LT(passed, Seconds(6.0));
}

// Rank 2 takes steps; then rank 1 is gone, and the next step does not end.
TEST_F(Heartbeats, WhereAStepTakesFarLongerThanUsualASilentRankIsFound) {
  start(3, kLong);
  for (int step = 0; step < 4; ++step) {
    heartbeats_[2]->make_progress();
    clock_->pass(Seconds(2.0));
  }
  heartbeats_[2]->make_progress();
  heartbeats_[1].reset();
  const ManualClock::Time silent = clock_->now();
  const std::optional<std::string> failure = wait_for_failure(0, Seconds(100.0));
  const double lost_after = Seconds(clock_->now() - silent).count();
  ASSERT_TRUE(failure);
  EXPECT_THAT(*failure, HasSubstr("Rank 1 is lost"));
  // Ten steps of 2 s; ranks speak and listen twice a second, and three have to one after the other.
  EXPECT_GT(lost_after, 20.0 - 0.5);
  EXPECT_LT(lost_after, 20.0 + 2.5);
}

TEST_F(Heartbeats, WhereStepsAreShortASilentRankIsFoundAfterTenSeconds) {
  start(2, kLong);
  for (int step = 0; step < 20; ++step) {
    heartbeats_[0]->make_progress();
    clock_->pass(Seconds(0.1));
  }
  heartbeats_[1].reset();
  const ManualClock::Time silent = clock_->now();
  EXPECT_THAT(wait_for_failure(0, Seconds(100.0)).value_or("none"), HasSubstr("Rank 1 is lost"));
  const double lost_after = Seconds(clock_->now() - silent).count();
  EXPECT_GT(lost_after, 10.0 - 1.0);
  EXPECT_LT(lost_after, 10.0 + 2.5);
}

TEST_F(Heartbeats, RanksThatAreSlowAreNotLostAndSuspicionEndsWithTheStep) {
  start(3, kLong);
  for (const auto& heartbeat : heartbeats_) heartbeat->make_progress();
  clock_->pass(Seconds(300.0));  // a step of five minutes, in which all are heard of
  for (const auto& heartbeat : heartbeats_) EXPECT_EQ(heartbeat->failure(), std::nullopt);
  for (const auto& heartbeat : heartbeats_) heartbeat->make_progress();
  clock_->pass(Seconds(1.5));  // until rank 2 has taken its word back
  heartbeats_[1].reset();
  for (int step = 0; step < 30; ++step) {
    heartbeats_[2]->make_progress();
    clock_->pass(Seconds(1.0));
  }
  EXPECT_EQ(heartbeats_[0]->failure(), std::nullopt);
}

TEST_F(Heartbeats, TheFirstReportIsTheFailureOfAll) {
  start(3, kLong);
  begin([&] { heartbeats_[2]->report("two"); });
  begin([&] { heartbeats_[1]->report("one"); });
  pass_until_they_end(Seconds(3.0));
  const std::optional<std::string> failure = wait_for_failure(0, Seconds(3.0));
  ASSERT_TRUE(failure);
  EXPECT_THAT(*failure, MatchesRegex("Rank (1 failed: one|2 failed: two)"));
  EXPECT_EQ(heartbeats_[1]->failure(), failure);
  EXPECT_EQ(heartbeats_[2]->failure(), failure);
  begin([&] {
    for (const size_t rank : {1, 2}) heartbeats_[rank]->finish_after_failure();
    heartbeats_[0]->finish_after_failure();  // until both know, which they do
  });
  const Seconds passed = pass_until_they_end(Seconds(9.0));
  EXPECT_LT(passed, Seconds(2.0));
}

TEST_F(Heartbeats, WhoLosesTheStoreNamesItsServer) {
  start(2, kLong);
  heartbeats_[0].reset();
  stores_[0].reset();
  EXPECT_THAT(wait_for_failure(1, Seconds(10.0)).value_or("none"),
              AllOf(HasSubstr("Rank 0 with its store at 127.0.0.1:"), HasSubstr("does not answer")));
}

// The main thread of rank 0 stands in a collective, say, that never returns; in the time of this machine.
void hang_beside_a_lost_rank() {
  const int64_t port = free_port();
  const auto store = Store::connect(environment_of(0, 2, port), kConnectTimeout);
  Heartbeat heartbeat(store->reconnect(), 0, 2);
  heartbeat.set_timeout(kTimeout);
  std::this_thread::sleep_for(std::chrono::seconds(30));
}

TEST(HeartbeatDeathTest, EndsAProcessThatHangsWithoutARank) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  const auto begin = std::chrono::steady_clock::now();
  EXPECT_EXIT(hang_beside_a_lost_rank(), testing::ExitedWithCode(1), "Rank 1 is lost");
  EXPECT_LT(seconds_since(begin), 10.0);
}

// As above, with `seconds` of work that needs no other rank.
void hold_beside_a_lost_rank(double seconds) {
  const int64_t port = free_port();
  const auto store = Store::connect(environment_of(0, 2, port), kConnectTimeout);
  const auto clock = std::make_shared<ManualClock>();
  clock->expect_threads(2);
  Heartbeat heartbeat(store->reconnect(), 0, 2, clock);
  heartbeat.set_timeout(kTimeout);
  heartbeat.hold(/*begins=*/true);
  clock->pass(Seconds(seconds));
  std::fputs("it is done; ", stderr);
  heartbeat.hold(/*begins=*/false);
  clock->pass(Seconds(30.0));
}

TEST(HeartbeatDeathTest, AProcessMayCompleteWhatNeedsNoOtherRankWithinTheTimeout) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  // Rank 1 is lost after 1.5 s, a main thread may hang for 0.4 s, and what is under way go on until 3.5 s.
  EXPECT_EXIT(hold_beside_a_lost_rank(2.7), testing::ExitedWithCode(1), "it is done; .*Rank 1 is lost");
  EXPECT_EXIT(hold_beside_a_lost_rank(20.0), testing::ExitedWithCode(1), "^[^;]*Rank 1 is lost");
}

TEST_F(Heartbeats, WhoWaitsForRankZeroAtTheEndMissesIt) {
  start(2, kLong);
  begin([&] { heartbeats_[1]->finish(); });
  clock_->pass(Seconds(0.7));  // it is known that rank 1 is done
  heartbeats_[0].reset();
  stores_[0].reset();
  pass_until_they_end(Seconds(30.0));
  EXPECT_THAT(heartbeats_[1]->failure().value_or("none"), HasSubstr("Rank 0 with its store"));
}

TEST_F(Heartbeats, TheEndInOrderIsNoFailureOfAnybody) {
  start(3, kLong);
  for (const size_t rank : {1, 2}) begin([&, rank] { heartbeats_[rank]->finish(); });
  std::atomic<bool> zero_may_go = false;
  begin([&] {
    heartbeats_[0]->finish();
    zero_may_go = true;
  });
  EXPECT_LT(pass_until([&] { return zero_may_go.load(); }, kLong), Seconds(10.0));
  heartbeats_[0].reset();
  stores_[0].reset();
  EXPECT_LT(pass_until_they_end(kLong), Seconds(10.0));
  clock_->pass(Seconds(0.5));
  for (const size_t rank : {1, 2}) EXPECT_EQ(heartbeats_[rank]->failure(), std::nullopt);
}

TEST(SpeaksOfFailure, IsRankZeroUnlessItIsWhatFailed) {
  EXPECT_TRUE(reports_to_terminal("Rank 3 failed: x", 0));
  EXPECT_FALSE(reports_to_terminal("Rank 3 failed: x", 1));
  EXPECT_FALSE(reports_to_terminal("Rank 10 is lost", 1));
  EXPECT_TRUE(reports_to_terminal("Rank 0 failed: x", 1));
  EXPECT_TRUE(reports_to_terminal("The store of torchrun's agent does not answer", 1));
}

std::string connect_error(const Environment& environment) {
  try {
    Store::connect(environment, std::chrono::seconds(1));
  } catch (const core::RunError& error) {
    return error.what();
  }
  return "no error";
}

TEST(Store, SetsOnceAddsAndTellsWhatIsNotThere) {
  const int64_t port = free_port();
  const auto server = Store::connect(environment_of(0, 2, port), kConnectTimeout);
  const auto client = Store::connect(environment_of(1, 2, port), kConnectTimeout);
  EXPECT_EQ(client->get("a"), std::nullopt);
  EXPECT_EQ(server->set_once("a", "one"), "one");
  EXPECT_EQ(client->set_once("a", "two"), "one");
  EXPECT_EQ(client->get("a"), "one");
  client->set("a", "three");
  EXPECT_EQ(server->reconnect()->get("a"), "three");
  EXPECT_EQ(client->add("n", 2), 2);
  EXPECT_EQ(server->add("n", 0), 2);
  EXPECT_EQ(server->add("n", -5), -3);
}

TEST(Store, EntersASpaceApartFromOthersWithTheConnectionsMadeFromIt) {
  const int64_t port = free_port();
  const auto server = Store::connect(environment_of(0, 2, port), kConnectTimeout);
  const auto client = Store::connect(environment_of(1, 2, port), kConnectTimeout);
  server->set("a", "outside");
  client->enter("b");
  EXPECT_EQ(client->get("a"), std::nullopt);
  client->set("a", "inside");
  EXPECT_EQ(client->reconnect()->get("a"), "inside");
  EXPECT_EQ(server->get("a"), "outside");
  server->enter("b");
  EXPECT_EQ(server->get("a"), "inside");
}

TEST(Store, OfOneRankStandsBesideOthers) {
  const int64_t port = free_port();
  const auto first = Store::connect(environment_of(0, 1, port), kConnectTimeout);
  const auto second = Store::connect(environment_of(0, 1, port), kConnectTimeout);
  first->set("a", "first");
  EXPECT_EQ(second->get("a"), std::nullopt);
  EXPECT_EQ(first->reconnect()->get("a"), "first");
}

TEST(Store, NamesThePortThatIsTaken) {
  const int64_t port = free_port();
  const auto other = Store::connect(environment_of(0, 2, port), kConnectTimeout);
  EXPECT_THAT(connect_error(environment_of(0, 2, port)),
              AllOf(HasSubstr(std::to_string(port)), HasSubstr("MASTER_PORT"), HasSubstr("Rank 0")));
}

TEST(Store, NamesTheAddressWhereNobodyServes) {
  const int64_t port = free_port();
  const auto begin = std::chrono::steady_clock::now();
  EXPECT_THAT(connect_error(environment_of(3, 4, port)),
              AllOf(HasSubstr("Rank 3"), HasSubstr("127.0.0.1:" + std::to_string(port)),
                    HasSubstr("MASTER_ADDR:MASTER_PORT")));
  EXPECT_LT(seconds_since(begin), 8.0);
}

}  // namespace
}  // namespace ssgpt::parallel
