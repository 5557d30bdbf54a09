// Texts, collectives and stops between ranks, which are threads here.
#include "parallel/communicator.h"

#include "core/check.h"
#include "parallel/ranks.h"
#include "parallel/weights_check.h"

#include <chrono>
#include <csignal>
#include <mutex>
#include <set>
#include <thread>

#include <ATen/ops/arange.h>
#include <ATen/ops/full.h>
#include <ATen/ops/zeros.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace ssgpt::parallel {
namespace {

using testing::AllOf;
using testing::Each;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

double seconds_since(std::chrono::steady_clock::time_point begin) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

class Ranks : public testing::TestWithParam<int64_t> {};

TEST_P(Ranks, SumAndGatherNumbers) {
  const int64_t world_size = GetParam();
  const auto ranks = static_cast<double>(world_size);
  EXPECT_EQ(run_ranks(world_size,
                      [&](Communicator& communicator) {
                        const int64_t rank = communicator.rank();
                        EXPECT_EQ(communicator.world_size(), world_size);
                        EXPECT_EQ(communicator.is_main(), rank == 0);
                        EXPECT_EQ(communicator.environment().local_world_size, world_size);
                        // Powers of two: exact in any order.
                        EXPECT_EQ(communicator.sum(0.5 + static_cast<double>(rank)),
                                  0.5 * ranks + ranks * (ranks - 1.0) / 2.0);
                        std::vector<int64_t> expected;
                        for (int64_t r = 0; r < world_size; ++r) expected.push_back(INT64_MAX - 7 * r);
                        EXPECT_EQ(communicator.gather(INT64_MAX - 7 * rank), expected);
                      }),
            nothing_thrown(world_size));
}

TEST_P(Ranks, ReduceAndGatherTensorsOfAwkwardSizes) {
  const int64_t world_size = GetParam();
  const auto run = [&](Communicator& communicator) {
    const int64_t rank = communicator.rank();
    Collectives& collectives = communicator.collectives();
    // Rank r holds (r + 1) * i: integers below 2^24, whose sums fp32 holds exactly.
    const auto mine = [&](int64_t size, int64_t r) {
      return at::arange(size, at::kFloat).mul_(static_cast<double>(r + 1));
    };
    const auto sum = [&](int64_t size) {
      return at::arange(size, at::kFloat).mul_(static_cast<double>(world_size * (world_size + 1) / 2));
    };
    for (const int64_t size : {1, 2, 3, 31, 257, 100003}) {
      const at::Tensor all = mine(size, rank);
      collectives.start_all_reduce(all).wait();
      EXPECT_TRUE(all.equal(sum(size))) << size;
      const int64_t whole = size * world_size;
      const at::Tensor scattered = mine(whole, rank);
      collectives.start_reduce_scatter(scattered).wait();
      EXPECT_TRUE(scattered.narrow(0, rank * size, size).equal(sum(whole).narrow(0, rank * size, size)))
          << size;
      const at::Tensor gathered = at::full({whole}, -1.0, at::kFloat);
      gathered.narrow(0, rank * size, size).copy_(mine(whole, rank).narrow(0, rank * size, size));
      collectives.start_all_gather(gathered).wait();
      for (int64_t r = 0; r < world_size; ++r) {
        EXPECT_TRUE(gathered.narrow(0, r * size, size).equal(mine(whole, r).narrow(0, r * size, size)))
            << size;
      }
    }
  };
  EXPECT_EQ(run_ranks(world_size, run), nothing_thrown(world_size));
}

TEST_P(Ranks, MayHaveManyCollectivesUnderWay) {
  const int64_t world_size = GetParam();
  const auto run = [&](Communicator& communicator) {
    std::vector<at::Tensor> tensors;
    std::vector<Pending> pending;
    for (int64_t i = 0; i < 40; ++i) {
      tensors.push_back(at::full({1 + 37 * i}, static_cast<double>(i + communicator.rank()), at::kFloat));
      pending.push_back(communicator.collectives().start_all_reduce(tensors.back()));
    }
    const int64_t ranks = world_size * (world_size - 1) / 2;  // 0 + 1 + ...
    for (int64_t i = 0; i < 40; ++i) {
      Pending& operation = pending[static_cast<size_t>(i)];
      operation.wait();
      EXPECT_GE(operation.ended(), operation.started());
      EXPECT_TRUE(
          tensors[static_cast<size_t>(i)].eq(static_cast<double>(i * world_size + ranks)).all().item<bool>());
    }
  };
  EXPECT_EQ(run_ranks(world_size, run), nothing_thrown(world_size));
}

TEST_P(Ranks, LeaveTextsForEachOther) {
  const int64_t world_size = GetParam();
  const auto run = [&](Communicator& communicator) {
    const int64_t rank = communicator.rank();
    Exchange& exchange = communicator.exchange();
    std::vector<std::string> expected;
    for (int64_t r = 0; r < world_size; ++r) expected.push_back(std::string(static_cast<size_t>(r), 'x'));
    EXPECT_EQ(exchange.gather("names", expected[static_cast<size_t>(rank)]), expected);
    // A text that is slow to come, with bytes that are no text.
    const std::string text("a\0b\n\xff", 5);
    int calls = 0;
    EXPECT_EQ(exchange.from_rank_zero("directory",
                                      [&] {
                                        ++calls;
                                        std::this_thread::sleep_for(std::chrono::milliseconds(100));
                                        return text;
                                      }),
              text);
    EXPECT_EQ(calls, rank == 0 ? 1 : 0);
    // Another thread has an exchange of its own, with the same names in sight.
    std::thread([&] {
      const std::unique_ptr<Exchange> own = communicator.make_exchange();
      EXPECT_EQ(own->read("names", world_size - 1), expected.back());
    }).join();
  };
  EXPECT_EQ(run_unopened_ranks(world_size, run), nothing_thrown(world_size));
}

// Who learns of a signal, and when; the ranks meet in a collective in each step, as in training.
void expect_stop(int64_t world_size, const std::function<int(int64_t rank, int64_t step)>& signal,
                 int64_t expected_step, int expected_signal) {
  constexpr int64_t kLastStep = 12;
  const auto run = [&](Communicator& communicator) {
    int64_t step = 0;
    int stopped = 0;
    while (stopped == 0 && step < kLastStep) {
      communicator.sum(1.0);
      ++step;
      stopped = communicator.agree_on_stop(step, signal(communicator.rank(), step));
    }
    EXPECT_EQ(step, expected_step) << "rank " << communicator.rank();
    EXPECT_EQ(stopped, expected_signal) << "rank " << communicator.rank();
  };
  EXPECT_EQ(run_ranks(world_size, run), nothing_thrown(world_size));
}

TEST_P(Ranks, StopTogetherAStepAfterOneOfThemGotASignal) {
  const int64_t last = GetParam() - 1;
  expect_stop(
      GetParam(), [&](int64_t rank, int64_t step) { return rank == last && step >= 4 ? SIGUSR1 : 0; }, 5,
      SIGUSR1);
}

TEST_P(Ranks, StopTogetherWhereAllGotASignal) {
  expect_stop(
      GetParam(), [](int64_t, int64_t step) { return step >= 3 ? SIGTERM : 0; }, 4, SIGTERM);
}

TEST_P(Ranks, GoOnWithoutASignal) {
  expect_stop(
      GetParam(), [](int64_t, int64_t) { return 0; }, 12, 0);
}

INSTANTIATE_TEST_SUITE_P(Sizes, Ranks, testing::Values(1, 2, 3), testing::PrintToStringParamName());

TEST(AgreeOnStop, AgreesOnTheFirstOfTwoSignalsAtOnce) {
  for (int repetition = 0; repetition < 3; ++repetition) {
    std::mutex mutex;
    std::set<std::pair<int64_t, int>> stops;
    const auto run = [&](Communicator& communicator) {
      const int own = communicator.rank() == 0 ? SIGINT : SIGTERM;
      int64_t step = 0;
      int stopped = 0;
      while (stopped == 0 && step < 12) {
        communicator.sum(1.0);
        ++step;
        stopped = communicator.agree_on_stop(step, step >= 3 && communicator.rank() < 2 ? own : 0);
      }
      const std::lock_guard guard(mutex);
      stops.emplace(step, stopped);
    };
    ASSERT_EQ(run_ranks(3, run), nothing_thrown(3));
    ASSERT_EQ(stops.size(), 1u);
    EXPECT_EQ(stops.begin()->first, 4);
    EXPECT_TRUE(stops.begin()->second == SIGINT || stops.begin()->second == SIGTERM);
  }
}

TEST(AgreeOnStop, IsThisStepInOneProcess) {
  Communicator alone;
  EXPECT_EQ(alone.agree_on_stop(7, 0), 0);
  EXPECT_EQ(alone.agree_on_stop(8, SIGTERM), SIGTERM);
}

TEST(Alone, LeavesEverythingAsItIs) {
  Communicator alone;
  alone.open(at::kCPU, 1.0);
  EXPECT_EQ(alone.rank(), 0);
  EXPECT_EQ(alone.world_size(), 1);
  EXPECT_EQ(alone.environment().local_world_size, 1);
  EXPECT_EQ(alone.sum(0.25), 0.25);
  EXPECT_THAT(alone.gather(-3), ElementsAre(-3));
  EXPECT_THAT(alone.exchange().gather("a", "b"), ElementsAre("b"));
  EXPECT_EQ(alone.exchange().from_rank_zero("c", [] { return std::string("d"); }), "d");
  EXPECT_EQ(alone.exchange().read("c", 0), "d");
  EXPECT_THROW(alone.exchange().read("e", 0), core::InternalError);
  const at::Tensor values = at::arange(5, at::kFloat);
  alone.collectives().start_all_reduce(values).wait();
  alone.collectives().start_reduce_scatter(values).wait();
  alone.collectives().start_all_gather(values).wait();
  EXPECT_TRUE(values.equal(at::arange(5, at::kFloat)));
  require_equal_weights(alone, values, 1);
  agree(alone.exchange(), "start", {});
  alone.finish();
}

TEST(Agree, ReturnsWhereNoRankDiffers) {
  const auto run = [](Communicator& communicator) {
    agree(communicator.exchange(), "start", {});
    agree(communicator.exchange(), "again", {});
  };
  EXPECT_EQ(run_unopened_ranks(3, run), nothing_thrown(3));
}

TEST(Agree, NamesTheRankAndWhatDiffersAndReturnsOnNone) {
  bool returned = false;
  const auto run = [&](Communicator& communicator) {
    std::vector<std::string> differences;
    if (communicator.rank() == 2) differences = {"the config: a on rank 0, b here", "the shards: s1, s2"};
    agree(communicator.exchange(), "start", differences);
    returned = true;
  };
  const std::vector<std::string> thrown = run_unopened_ranks(4, run);
  EXPECT_THAT(thrown, Each(AllOf(HasSubstr("Rank 2"), HasSubstr("\n  the config: a on rank 0, b here"),
                                 HasSubstr("\n  the shards: s1, s2"))));
  EXPECT_FALSE(returned);
}

TEST(RunAsRank, TellsTheOthersWhyOneOfThemFails) {
  const auto begin = std::chrono::steady_clock::now();
  std::atomic<int> peers_failed = 0;
  const auto run = [&](Communicator& communicator) {
    for (int step = 1;; ++step) {
      if (communicator.rank() == 1 && step == 3) throw core::RunError("the disk of rank 1 is full.");
      try {
        communicator.sum(1.0);
      } catch (const PeerFailure&) {
        ++peers_failed;
        throw;
      }
    }
  };
  // The others wait in a collective for as long as the timeout allows, unless they hear of it.
  const std::vector<std::string> thrown = run_ranks(3, run, /*timeout_s=*/600.0);
  EXPECT_EQ(thrown[1], "the disk of rank 1 is full.");
  EXPECT_EQ(thrown[0], "Rank 1 failed: the disk of rank 1 is full.");
  EXPECT_EQ(thrown[2], thrown[0]);
  EXPECT_EQ(peers_failed, 2);
  EXPECT_LT(seconds_since(begin), 8.0);
}

TEST(RunAsRank, TellsTheOthersWhoWaitForAText) {
  const auto begin = std::chrono::steady_clock::now();
  const auto run = [](Communicator& communicator) {
    if (communicator.rank() == 0) throw core::InputError("no such file.");
    communicator.exchange().read("never posted", 0);
  };
  const std::vector<std::string> thrown = run_unopened_ranks(3, run);
  EXPECT_THAT(thrown,
              ElementsAre("no such file.", "Rank 0 failed: no such file.", "Rank 0 failed: no such file."));
  EXPECT_LT(seconds_since(begin), 8.0);
}

TEST(RunAsRank, WaitsAtTheEndForTheSlowest) {
  using Clock = std::chrono::steady_clock;
  for (const int64_t slow : {0, 1}) {
    const int64_t port = free_port();
    Clock::time_point slow_ended;
    std::array<Clock::time_point, 2> returned;
    std::vector<std::thread> ranks;
    for (int64_t rank = 0; rank < 2; ++rank) {
      ranks.emplace_back([&, rank] {
        run_as_rank(environment_of(rank, 2, port), [&](Communicator&) {
          if (rank != slow) return;
          std::this_thread::sleep_for(std::chrono::milliseconds(200));
          slow_ended = Clock::now();
        });
        returned[static_cast<size_t>(rank)] = Clock::now();
      });
    }
    for (std::thread& rank : ranks) rank.join();
    EXPECT_GE(returned[static_cast<size_t>(1 - slow)], slow_ended) << slow;
  }
}

// Whether each of two ranks should say it, and whether rank 1 stayed until rank 0, which announced its
// failure and has something to complete before, came to it.
struct FailedTogether {
  std::array<bool, 2> speaks{};
  bool one_stayed = false;
};
FailedTogether fail_together(const char* of_rank_zero, const char* of_rank_one,
                             std::chrono::milliseconds to_complete) {
  using Clock = std::chrono::steady_clock;
  const int64_t port = free_port();
  FailedTogether result;
  Clock::time_point one_returned;
  std::thread other([&] {
    Communicator communicator(environment_of(1, 2, port));
    communicator.exchange().read("announced", 0);
    result.speaks[1] = communicator.fail(of_rank_one);
    one_returned = Clock::now();
  });
  Communicator communicator(environment_of(0, 2, port));
  communicator.announce(of_rank_zero);
  communicator.exchange().post("announced", "");
  std::this_thread::sleep_for(to_complete);
  const Clock::time_point zero_fails = Clock::now();
  result.speaks[0] = communicator.fail(of_rank_zero);
  other.join();
  result.one_stayed = one_returned >= zero_fails;
  return result;
}

TEST(Fail, IsLeftToRankZeroWhereItAnnouncedTheSameWords) {
  // Longer than the second for which a rank waits to hear whether rank 0 fails as well.
  const FailedTogether same = fail_together("not finite", "not finite", std::chrono::milliseconds(1500));
  EXPECT_THAT(same.speaks, ElementsAre(true, false));
  EXPECT_TRUE(same.one_stayed);
  const FailedTogether other = fail_together("not finite", "the disk is full", std::chrono::milliseconds(0));
  EXPECT_THAT(other.speaks, ElementsAre(true, true));
}

TEST(RequireEqualWeights, ComparesBits) {
  const auto run = [](Communicator& communicator) {
    const at::Tensor flat = at::arange(1000, at::kFloat);
    require_equal_weights(communicator, flat, 5);
    flat.narrow(0, 0, 1).fill_(std::nan(""));  // equal bits, though NaN is not equal to itself
    require_equal_weights(communicator, flat, 6);
  };
  EXPECT_EQ(run_ranks(3, run), nothing_thrown(3));
}

TEST(RequireEqualWeights, NamesTheStepAndTheRanksWhoseBitsDiffer) {
  const auto difference = [](float first, float second) {
    return run_ranks(3, [=](Communicator& communicator) {
      const at::Tensor flat = at::zeros({1000}, at::kFloat);
      flat.narrow(0, 999, 1).fill_(communicator.rank() == 2 ? second : first);
      require_equal_weights(communicator, flat, 7);
    });
  };
  const auto named = AllOf(HasSubstr("After step 7"), HasSubstr("the weights of rank 2 are not"));
  EXPECT_THAT(difference(1.0f, std::nextafter(1.0f, 2.0f)), Each(named));
  EXPECT_THAT(difference(0.0f, -0.0f), Each(named));
  EXPECT_THAT(run_ranks(3,
                        [](Communicator& communicator) {
                          const at::Tensor flat =
                              at::full({8}, static_cast<double>(communicator.rank() > 0), at::kFloat);
                          require_equal_weights(communicator, flat, 7);
                        }),
              Each(HasSubstr("rank 1, 2 are not")));
}

}  // namespace
}  // namespace ssgpt::parallel
