// The store and the watch over the other ranks, whose main threads may do anything, or nothing.
#include "parallel/watch.h"

#include "core/error.h"
#include "parallel/ranks.h"

#include <chrono>
#include <cstdio>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace ssgpt::parallel {
namespace {

using Clock = std::chrono::steady_clock;
using Seconds = std::chrono::duration<double>;
using testing::AllOf;
using testing::HasSubstr;
using testing::MatchesRegex;

constexpr std::chrono::seconds kConnectTimeout{10};
constexpr Seconds kLong{600.0};
// Shorter ones would take the pauses of a busy machine for silence.
constexpr Seconds kTimeout{2.0};

double seconds_since(Clock::time_point begin) {
  return Seconds(Clock::now() - begin).count();
}

// The stores of all ranks, and their watches.
class Watches : public testing::Test {
 protected:
  void start(int64_t world_size, Seconds timeout) {
    const int64_t port = free_port();
    for (int64_t rank = 0; rank < world_size; ++rank) {
      stores_.push_back(Store::connect(environment_of(rank, world_size, port), kConnectTimeout));
      watches_.push_back(std::make_unique<Watch>(stores_.back()->reconnect(), rank, world_size));
      watches_.back()->set_timeout(timeout);
    }
  }

  // Waits for the failure that `rank` knows of. Soon after one a process ends whose main thread does not: the
  // longer timeout gives the test time to look at it.
  std::optional<std::string> wait_for_failure(size_t rank, double limit_s) {
    const Clock::time_point begin = Clock::now();
    while (seconds_since(begin) < limit_s) {
      if (auto failure = watches_[rank]->failure()) {
        for (const auto& watch : watches_) {
          if (watch) watch->set_timeout(kLong);
        }
        return failure;
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(2));
    }
    return std::nullopt;
  }

  std::vector<std::unique_ptr<Store>> stores_;
  std::vector<std::unique_ptr<Watch>> watches_;  // end before the stores
};

TEST_F(Watches, ARankThatFallsSilentIsLostAfterThreeQuartersOfTheTimeout) {
  start(3, kTimeout);
  // Past the first pause, which is half a second where it began before the timeout was set.
  std::this_thread::sleep_for(std::chrono::milliseconds(700));
  for (const auto& watch : watches_) EXPECT_EQ(watch->failure(), std::nullopt);
  watches_[1].reset();
  const Clock::time_point silent = Clock::now();
  const std::optional<std::string> failure = wait_for_failure(0, 10.0);
  // Ranks speak and listen every 1.5 s / 8: the last word may be as old as that, and be heard as late. The
  // upper limit is for a busy machine.
  EXPECT_GT(seconds_since(silent), 1.5 - 0.2);
  EXPECT_LT(seconds_since(silent), 1.5 + 1.5);
  ASSERT_TRUE(failure);
  EXPECT_THAT(*failure, AllOf(HasSubstr("Rank 1 is lost"), HasSubstr("nothing was heard of it for")));
  EXPECT_EQ(wait_for_failure(2, 2.0), failure);  // who does not listen to rank 1 hears of it as well
}

TEST_F(Watches, RankZeroIsMissedToo) {
  start(2, kTimeout);
  watches_[0].reset();  // its store still answers
  EXPECT_THAT(wait_for_failure(1, 10.0).value_or("none"), HasSubstr("Rank 0 is lost"));
}

TEST_F(Watches, RanksThatOnlyComputeAreNotLost) {
  start(3, kTimeout);
  std::this_thread::sleep_for(std::chrono::milliseconds(2000));
  for (const auto& watch : watches_) EXPECT_EQ(watch->failure(), std::nullopt);
}

TEST_F(Watches, AfterAFailedCollectiveASilentRankIsFoundInSeconds) {
  start(3, kLong);
  watches_[1].reset();
  const Clock::time_point begin = Clock::now();
  EXPECT_THAT(watches_[2]->explain("no reason"), HasSubstr("Rank 1 is lost"));
  EXPECT_LT(seconds_since(begin), 6.0);
}

TEST_F(Watches, TheFirstReportIsTheFailureOfAll) {
  start(3, kLong);
  std::thread other([&] { watches_[2]->report("two"); });
  watches_[1]->report("one");
  other.join();
  const std::optional<std::string> failure = wait_for_failure(0, 3.0);
  ASSERT_TRUE(failure);
  EXPECT_THAT(*failure, MatchesRegex("Rank (1 failed: one|2 failed: two)"));
  EXPECT_EQ(watches_[1]->failure(), failure);
  EXPECT_EQ(watches_[2]->failure(), failure);
  const Clock::time_point begin = Clock::now();
  for (const size_t rank : {1, 2}) watches_[rank]->linger();
  watches_[0]->linger();  // until both know, which they do
  EXPECT_LT(seconds_since(begin), 2.0);
}

TEST_F(Watches, WhoLosesTheStoreNamesItsServer) {
  start(2, kLong);
  watches_[0].reset();
  stores_[0].reset();
  EXPECT_THAT(wait_for_failure(1, 10.0).value_or("none"),
              AllOf(HasSubstr("Rank 0 with its store at 127.0.0.1:"), HasSubstr("does not answer")));
}

// The main thread of rank 0 stands in a collective, say, that never returns.
void hang_beside_a_lost_rank() {
  const int64_t port = free_port();
  const auto store = Store::connect(environment_of(0, 2, port), kConnectTimeout);
  Watch watch(store->reconnect(), 0, 2);
  watch.set_timeout(kTimeout);
  std::this_thread::sleep_for(std::chrono::seconds(30));
}

TEST(WatchDeathTest, EndsAProcessThatHangsWithoutARank) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  const Clock::time_point begin = Clock::now();
  EXPECT_EXIT(hang_beside_a_lost_rank(), testing::ExitedWithCode(1), "Rank 1 is lost");
  EXPECT_LT(seconds_since(begin), 10.0);
}

// As above, with `seconds` of something that needs no other rank.
void hold_beside_a_lost_rank(double seconds) {
  const int64_t port = free_port();
  const auto store = Store::connect(environment_of(0, 2, port), kConnectTimeout);
  Watch watch(store->reconnect(), 0, 2);
  watch.set_timeout(kTimeout);
  watch.hold(/*begins=*/true);
  std::this_thread::sleep_for(Seconds(seconds));
  std::fputs("it is done; ", stderr);
  watch.hold(/*begins=*/false);
  std::this_thread::sleep_for(std::chrono::seconds(30));
}

TEST(WatchDeathTest, AProcessMayCompleteWhatNeedsNoOtherRankWithinTheTimeout) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  // Rank 1 is lost after 1.5 s, a main thread may hang for 0.4 s, and what is under way go on until 3.5 s.
  EXPECT_EXIT(hold_beside_a_lost_rank(2.7), testing::ExitedWithCode(1), "it is done; .*Rank 1 is lost");
  EXPECT_EXIT(hold_beside_a_lost_rank(20.0), testing::ExitedWithCode(1), "^[^;]*Rank 1 is lost");
}

TEST_F(Watches, WhoWaitsForRankZeroAtTheEndMissesIt) {
  start(2, kLong);
  std::thread end([&] { watches_[1]->finish(); });
  std::this_thread::sleep_for(std::chrono::milliseconds(700));  // it is known that rank 1 is done
  watches_[0].reset();
  stores_[0].reset();
  end.join();
  EXPECT_THAT(watches_[1]->failure().value_or("none"), HasSubstr("Rank 0 with its store"));
}

TEST_F(Watches, TheEndInOrderIsNoFailureOfAnybody) {
  start(3, kLong);
  std::vector<std::thread> others;
  for (const size_t rank : {1, 2}) others.emplace_back([&, rank] { watches_[rank]->finish(); });
  watches_[0]->finish();
  watches_[0].reset();
  stores_[0].reset();  // as soon as rank 0 may
  for (std::thread& other : others) other.join();
  std::this_thread::sleep_for(std::chrono::milliseconds(500));
  for (const size_t rank : {1, 2}) EXPECT_EQ(watches_[rank]->failure(), std::nullopt);
}

TEST(SpeaksOfFailure, IsRankZeroUnlessItIsWhatFailed) {
  EXPECT_TRUE(speaks_of_failure("Rank 3 failed: x", 0));
  EXPECT_FALSE(speaks_of_failure("Rank 3 failed: x", 1));
  EXPECT_FALSE(speaks_of_failure("Rank 10 is lost", 1));
  EXPECT_TRUE(speaks_of_failure("Rank 0 failed: x", 1));
  EXPECT_TRUE(speaks_of_failure("The store of torchrun's agent does not answer", 1));
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
  const Clock::time_point begin = Clock::now();
  EXPECT_THAT(connect_error(environment_of(3, 4, port)),
              AllOf(HasSubstr("Rank 3"), HasSubstr("127.0.0.1:" + std::to_string(port)),
                    HasSubstr("MASTER_ADDR:MASTER_PORT")));
  EXPECT_LT(seconds_since(begin), 8.0);
}

}  // namespace
}  // namespace ssgpt::parallel
