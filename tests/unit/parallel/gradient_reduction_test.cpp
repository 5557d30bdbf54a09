// The gradient's way through the other ranks, against sums in float64.
#include "parallel/gradient_reduction.h"

#include "core/check.h"
#include "core/random.h"
#include "parallel/ranks.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <future>
#include <limits>
#include <mutex>
#include <random>
#include <thread>
#include <vector>

#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <ATen/ops/zeros.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace ssgpt::parallel {
namespace {

using core::Range;

constexpr double kUnitRoundoff = 0x1p-24;  // of fp32
constexpr float kGarbage = std::numeric_limits<float>::quiet_NaN();

double mib_of(int64_t elements) {
  return static_cast<double>(elements) * sizeof(float) / (1 << 20);
}

TEST(PlanBuckets, CoversTheTensorFromItsEndInGranules) {
  std::mt19937_64 random(1);
  const auto draw = [&](int64_t low, int64_t high) {
    return std::uniform_int_distribution<int64_t>(low, high)(random);
  };
  for (int repetition = 0; repetition < 2000; ++repetition) {
    const int64_t alignment = draw(1, 200);
    const int64_t size = alignment * draw(1, 300);
    const int64_t bucket_size = draw(0, size + 2 * alignment);
    const std::vector<Range> buckets = plan_buckets(size, bucket_size, alignment);
    ASSERT_EQ(buckets.front().end, size);
    ASSERT_EQ(buckets.back().begin, 0);
    for (size_t i = 0; i < buckets.size(); ++i) {
      ASSERT_GT(buckets[i].size(), 0);
      ASSERT_EQ(buckets[i].begin % alignment, 0);
      ASSERT_EQ(buckets[i].end, i > 0 ? buckets[i - 1].begin : size);
      // As large as asked for, rounded down to the alignment; the last one takes the rest.
      ASSERT_LE(buckets[i].size(), std::max(bucket_size, alignment));
      if (i + 1 < buckets.size()) {
        ASSERT_GT(buckets[i].size(), bucket_size - alignment);
      }
    }
  }
}

TEST(PlanBuckets, TakesNoGranuleThatDoesNotDivide) {
  EXPECT_THROW(plan_buckets(100, 10, 64), core::InternalError);
  EXPECT_THROW(plan_buckets(0, 10, 64), core::InternalError);
}

TEST(OwnedRanges, GiveEachElementToOneRankInEqualSharesOfEachBucket) {
  std::mt19937_64 random(2);
  const auto draw = [&](int64_t low, int64_t high) {
    return std::uniform_int_distribution<int64_t>(low, high)(random);
  };
  for (int repetition = 0; repetition < 300; ++repetition) {
    const int64_t world_size = draw(1, 9);
    const int64_t size = flat_alignment(world_size) * draw(1, 20);
    const std::vector<Range> buckets = plan_buckets(size, draw(0, size), flat_alignment(world_size));
    std::vector<int> owners(static_cast<size_t>(size));
    for (int64_t rank = 0; rank < world_size; ++rank) {
      const std::vector<Range> owned = owned_ranges(buckets, rank, world_size);
      ASSERT_EQ(core::total_size(owned), size / world_size);
      ASSERT_EQ(owned.size(), buckets.size());
      for (size_t i = 0; i < owned.size(); ++i) {
        ASSERT_EQ(owned[i].begin % 32, 0);  // 128 bytes
        ASSERT_GE(owned[i].begin, i > 0 ? owned[i - 1].end : 0);
        const Range& bucket = buckets[buckets.size() - 1 - i];
        ASSERT_EQ(owned[i].size() * world_size, bucket.size());
        ASSERT_EQ(owned[i].begin, bucket.begin + rank * owned[i].size());
        for (int64_t element = owned[i].begin; element < owned[i].end; ++element) {
          ++owners[static_cast<size_t>(element)];
        }
      }
    }
    ASSERT_TRUE(std::all_of(owners.begin(), owners.end(), [](int count) { return count == 1; }));
  }
}

// The gradient of one rank: sizes from 1e-3 to 1e3, so that the order of a sum shows in its last bits.
at::Tensor gradient_of(int64_t rank, int64_t size, uint64_t seed) {
  const at::Tensor grad = at::empty({size}, at::kFloat);
  const uint64_t key = core::stream_key(seed + 1000 * static_cast<uint64_t>(rank), "gradient");
  for (int64_t i = 0; i < size; ++i) {
    const auto at = static_cast<uint64_t>(i);
    grad.mutable_data_ptr<float>()[i] =
        static_cast<float>(core::random_normal(key, 2 * at) *
                           std::pow(10.0, std::fmod(core::random_normal(key, 2 * at + 1), 3.0)));
  }
  return grad;
}

// Sum over ranks and sum of magnitudes, fp64.
struct ExactSum {
  at::Tensor sum, magnitude;
};
ExactSum exact_sum(int64_t world_size, int64_t size, uint64_t seed) {
  ExactSum exact{at::zeros({size}, at::kDouble), at::zeros({size}, at::kDouble)};
  for (int64_t rank = 0; rank < world_size; ++rank) {
    const at::Tensor grad = gradient_of(rank, size, seed).to(at::kDouble);
    exact.sum.add_(grad);
    exact.magnitude.add_(grad.abs());
  }
  return exact;
}

double square_in_float64(const at::Tensor& values) {
  const at::Tensor wide = values.to(at::kDouble);
  return (wide * wide).sum().item<double>();
}

struct Case {
  int64_t world_size = 1;
  bool shard = false;
};

// Buckets of five aligned units; 43 of them leave a short last bucket.
class Reduction : public testing::TestWithParam<Case> {
 protected:
  int64_t world_size() const { return GetParam().world_size; }
  int64_t size() const { return 43 * flat_alignment(world_size()); }
  GradientReduction::Options options() const {
    return {.bucket_mb = mib_of(5 * flat_alignment(world_size())), .shard = GetParam().shard};
  }

  // Finishes the gradient of `rank` in random falling steps that know nothing of buckets, some of them
  // empty. What is not final yet holds NaN up to the moment when it is.
  void reduce_in_steps(GradientReduction& reduction, const at::Tensor& grad, int64_t rank,
                       uint64_t seed) const {
    const at::Tensor values = gradient_of(rank, size(), seed);
    std::mt19937_64 random(seed);  // the same steps on every rank are not needed, and not taken
    random.discard(static_cast<uint64_t>(rank));
    grad.fill_(kGarbage);
    int64_t end = size();
    while (end > 0) {
      const int64_t offset = std::max<int64_t>(0, end - static_cast<int64_t>(random() % 200));
      grad.narrow(0, offset, end - offset).copy_(values.narrow(0, offset, end - offset));
      reduction.final_from(offset);
      end = offset;
    }
    reduction.finish();
  }

  // The same elements on all ranks are put here and compared.
  void keep(int64_t rank, const at::Tensor& tensor) {
    const std::lock_guard guard(mutex_);
    kept_[static_cast<size_t>(rank)].push_back(tensor.clone());
  }
  void expect_same_on_all_ranks() const {
    for (const std::vector<at::Tensor>& of_rank : kept_) {
      ASSERT_EQ(of_rank.size(), kept_[0].size());
      for (size_t i = 0; i < of_rank.size(); ++i) EXPECT_TRUE(same_bits(of_rank[i], kept_[0][i]));
    }
  }

 private:
  std::mutex mutex_;
  std::vector<std::vector<at::Tensor>> kept_ =
      std::vector<std::vector<at::Tensor>>(static_cast<size_t>(GetParam().world_size));
};

TEST_P(Reduction, HasTheSumOverRanksAndItsNormOnceAllIsFinal) {
  const auto run = [&](Communicator& communicator) {
    const int64_t rank = communicator.rank();
    const at::Tensor grad = at::zeros({size()}, at::kFloat);
    GradientReduction reduction(communicator, grad, options());
    EXPECT_EQ(reduction.num_buckets(), 9);
    for (const uint64_t seed : {11, 12, 13}) {
      reduce_in_steps(reduction, grad, rank, seed);
      const ExactSum exact = exact_sum(world_size(), size(), seed);
      // R - 1 additions, in whichever order, each rounded to 24 bits.
      const at::Tensor tolerance =
          exact.magnitude * (1.01 * static_cast<double>(world_size() - 1) * kUnitRoundoff);
      const auto is_right = [&](const Range& range) {
        const at::Tensor error = (grad.to(at::kDouble) - exact.sum).abs();
        return error.le(tolerance).narrow(0, range.begin, range.size()).all().item<bool>();
      };
      for (const Range& range : reduction.owned()) EXPECT_TRUE(is_right(range));
      const at::Tensor squared_norm = reduction.squared_norm();
      reduction.gather(grad);
      EXPECT_TRUE(is_right({.begin = 0, .end = size()}));
      EXPECT_EQ(squared_norm.scalar_type(), at::kDouble);
      EXPECT_EQ(squared_norm.numel(), 1);
      // Thousands of squares, added in fp64 both times.
      const double expected = square_in_float64(grad);
      EXPECT_NEAR(squared_norm.item<double>(), expected, 1e-12 * expected);
      keep(rank, squared_norm);
      keep(rank, grad);
    }
  };
  EXPECT_EQ(run_ranks(world_size(), run), nothing_thrown(world_size()));
  expect_same_on_all_ranks();
}

TEST_P(Reduction, GathersWhatEachRankUpdatedOfItsShare) {
  std::mutex mutex;
  std::vector<int> owners(static_cast<size_t>(size()));
  const auto run = [&](Communicator& communicator) {
    GradientReduction reduction(communicator, at::zeros({size()}, at::kFloat), options());
    const at::Tensor updated = gradient_of(0, size(), 31);
    const at::Tensor weights = at::full({size()}, kGarbage, at::kFloat);
    for (const Range& range : reduction.owned()) {
      weights.narrow(0, range.begin, range.size()).copy_(updated.narrow(0, range.begin, range.size()));
    }
    reduction.gather(weights);
    EXPECT_TRUE(same_bits(weights, updated));
    const std::lock_guard guard(mutex);
    for (const Range& range : reduction.owned()) {
      for (int64_t i = range.begin; i < range.end; ++i) ++owners[static_cast<size_t>(i)];
    }
  };
  EXPECT_EQ(run_ranks(world_size(), run), nothing_thrown(world_size()));
  const int expected = GetParam().shard ? 1 : static_cast<int>(world_size());
  EXPECT_THAT(owners, testing::Each(expected));
}

INSTANTIATE_TEST_SUITE_P(Cases, Reduction,
                         testing::Values(Case{1, false}, Case{1, true}, Case{2, false}, Case{2, true},
                                         Case{3, false}, Case{3, true}, Case{4, false}, Case{4, true}),
                         [](const auto& variant) {
                           return std::to_string(variant.param.world_size) +
                                  (variant.param.shard ? "_sharded" : "_plain");
                         });

TEST(GradientReduction, ShardedSumsAreThePlainOnes) {
  constexpr int64_t kRanks = 2;
  const int64_t size = 43 * flat_alignment(kRanks);
  const auto run = [&](Communicator& communicator) {
    std::vector<at::Tensor> sums;
    for (const bool shard : {false, true}) {
      const at::Tensor grad = gradient_of(communicator.rank(), size, 41);
      GradientReduction reduction(communicator, grad,
                                  {.bucket_mb = mib_of(5 * flat_alignment(kRanks)), .shard = shard});
      reduction.final_from(0);
      reduction.finish();
      reduction.gather(grad);
      sums.push_back(grad);
    }
    EXPECT_TRUE(same_bits(sums[0], sums[1]));  // of two ranks: one addition, which has no order
  };
  EXPECT_EQ(run_ranks(kRanks, run), nothing_thrown(kRanks));
}

// Two ranks wait for each other's messages, so that a busy machine moves none of the limits: a transfer
// between two messages takes at least as long as the other rank sleeps between them.
TEST(GradientReduction, StartsABucketWhenItIsFinalAndCountsItsTime) {
  const double kPause = 0.3;  // s
  const int64_t alignment = flat_alignment(2);
  std::promise<void> upper_on_zero, all_on_one;
  const auto hear = [](std::promise<void>& word) {
    word.get_future().wait_for(std::chrono::seconds(30));
  };
  const auto run = [&](Communicator& communicator) {
    const at::Tensor grad = at::full({8 * alignment}, 1.0, at::kFloat);
    GradientReduction reduction(communicator, grad, {.bucket_mb = mib_of(alignment), .shard = false});
    ASSERT_EQ(reduction.num_buckets(), 8);
    const auto pause = [&] {
      std::this_thread::sleep_for(std::chrono::duration<double>(kPause));
    };
    const auto begin = std::chrono::steady_clock::now();
    // The upper buckets are final on rank 0 before they are on rank 1: where they start at once, they are
    // under way meanwhile. The lower ones are final on rank 1 first.
    if (communicator.rank() == 0) {
      reduction.final_from(6 * alignment);
      upper_on_zero.set_value();
      hear(all_on_one);
      pause();
      reduction.final_from(0);
    } else {
      hear(upper_on_zero);
      pause();
      reduction.final_from(0);
      all_on_one.set_value();
    }
    const auto before_finish = std::chrono::steady_clock::now();
    reduction.finish();
    const auto end = std::chrono::steady_clock::now();
    const auto seconds = [](auto duration) {
      return std::chrono::duration<double>(duration).count();
    };
    const CommunicationTime& time = reduction.time();
    EXPECT_GE(time.exposed, 0.0);
    EXPECT_LE(time.exposed, seconds(end - before_finish));  // not what passed while this rank was busy
    EXPECT_LE(time.total, seconds(end - begin));            // two at a time count once
    if (communicator.rank() == 0) {
      EXPECT_GE(time.total, kPause);  // waited for rank 1
    } else {
      EXPECT_GT(time.exposed,
                kPause / 3);  // rank 0 came that much later, but for what finish() takes to begin
    }
    EXPECT_TRUE(grad.eq(2.0).all().item<bool>());
  };
  EXPECT_EQ(run_ranks(2, run), nothing_thrown(2));
}

TEST(GradientReduction, IsNotFinishedBeforeAllIsFinal) {
  Communicator alone;
  GradientReduction reduction(alone, at::zeros({320}, at::kFloat), {.bucket_mb = mib_of(32), .shard = false});
  EXPECT_THROW(reduction.finish(), core::InternalError);
  reduction.final_from(1);
  EXPECT_THROW(reduction.finish(), core::InternalError);
  reduction.final_from(0);
  reduction.finish();
  EXPECT_THROW(reduction.finish(), core::InternalError);  // a new step begins
}

TEST(GradientReduction, LeavesTheGradientOfOneProcessAlone) {
  for (const bool shard : {false, true}) {
    Communicator alone;
    const at::Tensor before = gradient_of(0, 3200, 51);
    const at::Tensor grad = before.clone();
    GradientReduction reduction(alone, grad, {.bucket_mb = mib_of(320), .shard = shard});
    EXPECT_THAT(reduction.owned(), testing::ElementsAre(Range{0, 3200}));
    for (int repetition = 0; repetition < 100; ++repetition) {
      reduction.final_from(1600);
      reduction.final_from(0);
      reduction.finish();
      reduction.gather(grad);
    }
    EXPECT_TRUE(same_bits(grad, before));
    const double expected = square_in_float64(before);
    EXPECT_NEAR(reduction.squared_norm().item<double>(), expected, 1e-12 * expected);
    EXPECT_EQ(reduction.time().total, 0.0);
    EXPECT_EQ(reduction.time().exposed, 0.0);
  }
}

}  // namespace
}  // namespace ssgpt::parallel
