// Ranks of one start, and of several after each other, at a store that outlives them as torchrun's does.
#include "parallel/rendezvous.h"

#include "core/error.h"
#include "parallel/ranks.h"

#include <chrono>
#include <future>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace ssgpt::parallel {
namespace {

using Seconds = std::chrono::duration<double>;
using testing::AllOf;
using testing::HasSubstr;

constexpr std::chrono::seconds kConnectTimeout{10};
constexpr Seconds kLong{20.0};
constexpr Seconds kShort{0.5};
constexpr std::chrono::milliseconds kHeadStart{75};  // a round of asking

// The outcome for one rank: its store under the keys of its start, or why it did not join.
struct Joined {
  std::unique_ptr<Store> store;
  std::string error;
};

// The test itself serves the store, as an agent does.
class AtAnAgent : public testing::Test {
 protected:
  std::future<Joined> join(int64_t rank, int64_t world_size, Seconds timeout = kLong) {
    return std::async(std::launch::async, [this, rank, world_size, timeout] {
      Environment environment = environment_of(rank, world_size, port_);
      environment.agent_serves_store = true;
      Joined joined{.store = Store::connect(environment, kConnectTimeout), .error = ""};
      try {
        join_ranks(*joined.store, environment, timeout);
      } catch (const core::RunError& error) {
        joined.error = error.what();
      }
      return joined;
    });
  }

  // Takes these ranks, in this order, each with a head start over the next.
  std::vector<Joined> start(int64_t world_size, const std::vector<int64_t>& order) {
    std::vector<std::future<Joined>> joining;
    for (const int64_t rank : order) {
      joining.push_back(join(rank, world_size));
      std::this_thread::sleep_for(kHeadStart);
    }
    std::vector<Joined> joined;
    for (auto& one : joining) joined.push_back(one.get());
    return joined;
  }

  const int64_t port_ = free_port();
  const std::unique_ptr<Store> agent_ = Store::connect(environment_of(0, 2, port_), kConnectTimeout);
};

// The first sets what all of them see, and none saw before.
void expect_to_share_new_keys(const std::vector<Joined>& ranks) {
  for (const Joined& rank : ranks) ASSERT_EQ(rank.error, "");
  for (const Joined& rank : ranks) EXPECT_EQ(rank.store->get("key"), std::nullopt);
  ranks.front().store->set("key", "shared");
  for (const Joined& rank : ranks) EXPECT_EQ(rank.store->get("key"), "shared");
}

TEST_F(AtAnAgent, RanksOfEachStartMeetWhicheverComesFirst) {
  expect_to_share_new_keys(start(3, {0, 1, 2}));
  expect_to_share_new_keys(start(3, {1, 2, 0}));  // 1 and 2 read the number of the first start
  expect_to_share_new_keys(start(3, {2, 0, 1}));
}

TEST_F(AtAnAgent, TheNextStartMayHaveAnotherNumberOfRanks) {
  expect_to_share_new_keys(start(2, {0, 1}));
  expect_to_share_new_keys(start(3, {2, 1, 0}));
  expect_to_share_new_keys(start(1, {0}));
  expect_to_share_new_keys(start(2, {1, 0}));
}

TEST_F(AtAnAgent, ARankThatFoundAStartWithoutLifeMovesOnToTheNext) {
  // Rank 0 died before rank 1 came: the place is free, and nobody will answer.
  const Joined dead = join(0, 2, kShort).get();
  EXPECT_THAT(dead.error, HasSubstr("Rank 1 of 2 did not reach"));
  expect_to_share_new_keys(start(2, {1, 0}));
}

TEST_F(AtAnAgent, RankZeroNamesThoseThatDidNotCome) {
  auto zero = join(0, 4, Seconds(1.0));
  const Joined two = join(2, 4).get();
  EXPECT_EQ(two.error, "");
  EXPECT_THAT(zero.get().error, AllOf(HasSubstr("Ranks 1, 3 of 4 did not reach"), HasSubstr("within 1 s"),
                                      HasSubstr("127.0.0.1:")));
}

TEST_F(AtAnAgent, OthersNameRankZeroThatDidNotCome) {
  EXPECT_THAT(join(1, 2, kShort).get().error,
              AllOf(HasSubstr("Rank 0 did not reach"), HasSubstr("rank 1 waited 0.5 s")));
}

TEST_F(AtAnAgent, ARankThatComesTwiceIsRefusedBesideTheFirst) {
  const std::vector<Joined> first = start(2, {0, 1});
  EXPECT_THAT(join(1, 2, kShort).get().error, HasSubstr("that of another run: its rank 1 is "));
  EXPECT_THAT(join(2, 3, kShort).get().error,
              HasSubstr("that of another run: it has 2 ranks, and this one 3"));
  expect_to_share_new_keys(first);
}

TEST_F(AtAnAgent, TheEarlierOfTwoRanksZeroGivesUp) {
  auto first = join(0, 2);
  const auto deadline = std::chrono::steady_clock::now() + kLong;
  while (agent_->add("generation", 0) == 0 && std::chrono::steady_clock::now() < deadline) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  expect_to_share_new_keys(start(2, {0, 1}));
  EXPECT_THAT(first.get().error, HasSubstr("Another process came"));
}

TEST(JoinRanks, AtTheStoreOfRankZeroRefusesAtOnce) {
  const int64_t port = free_port();
  const auto enter = [&](int64_t rank, int64_t world_size, Seconds timeout) {
    const Environment environment = environment_of(rank, world_size, port);
    auto store = Store::connect(environment, kConnectTimeout);
    join_ranks(*store, environment, timeout);
    return store;
  };
  auto zero = std::async(std::launch::async, enter, 0, 2, kLong);
  const auto error_of = [&](int64_t rank, int64_t world_size) -> std::string {
    const auto begin = std::chrono::steady_clock::now();
    try {
      enter(rank, world_size, kLong);
    } catch (const core::RunError& error) {
      EXPECT_LT(Seconds(std::chrono::steady_clock::now() - begin), Seconds(5.0));
      return error.what();
    }
    return "no error";
  };
  // A start of another size takes no place, and leaves this run intact.
  EXPECT_THAT(error_of(1, 3), HasSubstr("it has 2 ranks, and this one 3"));
  const auto one = enter(1, 2, kLong);
  EXPECT_THAT(error_of(1, 2), HasSubstr("its rank 1 is "));
  const auto served = zero.get();
  served->set("key", "shared");
  EXPECT_EQ(one->get("key"), "shared");
}

}  // namespace
}  // namespace ssgpt::parallel
