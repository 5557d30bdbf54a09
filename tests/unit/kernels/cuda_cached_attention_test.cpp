// The kernels of attention to a cache, on a CPU.
#include "kernels/cuda/cached_attention.cuh"
#include "kernels/cuda_support.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include <gtest/gtest.h>

namespace ssgpt::kernels::cuda {
namespace {

using emulation::OrderOfThreads;

constexpr double kInfinity = std::numeric_limits<double>::infinity();

template <typename T>
class CudaCachedAttention : public testing::Test {};
TYPED_TEST_SUITE(CudaCachedAttention, DataTypes);

template <typename T>
struct Case {
  Case(int64_t sequences, int64_t num_heads, int64_t tokens, int64_t dim, int64_t at, int64_t positions,
       double deviation = 1.0)
      : batch(sequences),
        heads(num_heads),
        time(tokens),
        head_dim(dim),
        position(at),
        capacity(positions),
        qkv(random_array<T>(batch * time * 3 * heads * head_dim, deviation)),
        keys(random_array<T>(batch * heads * capacity * head_dim, deviation)),
        values(random_array<T>(batch * heads * capacity * head_dim, 1.0)),
        num_keys(batch * time),
        out(batch * time * heads * head_dim) {
    for (int64_t row = 0; row < batch * time; ++row) {
      num_keys.data()[row] = static_cast<int32_t>(position + row % time + 1);
    }
  }
  void run() {
    Array<float> scratch(batch * heads * (capacity + head_dim));
    const CachedAttentionArgs<T> args = {
        .qkv = qkv.data(),
        .num_keys = num_keys.data(),
        .keys = keys.data(),
        .values = values.data(),
        .out = out.data(),
        .scratch = scratch.data(),
        .scale = static_cast<float>(1.0 / std::sqrt(static_cast<double>(head_dim))),
        .position = position,
        .time = time,
        .heads = heads,
        .head_dim = head_dim,
        .capacity = capacity};
    cached_attention<T>(args, batch, nullptr);
  }
  // The index in qkv at which q (0), k (1) or v (2) of a head begins.
  int64_t in_qkv(int64_t row, int64_t which, int64_t head) const {
    return ((row * 3 + which) * heads + head) * head_dim;
  }
  int64_t in_cache(int64_t sequence, int64_t head, int64_t at) const {
    return ((sequence * heads + head) * capacity + at) * head_dim;
  }

  int64_t batch, heads, time, head_dim, position, capacity;
  Array<T> qkv, keys, values;
  Array<int32_t> num_keys;
  Array<T> out;
};

// The cache has the new tokens' keys and values, and else what it had.
template <typename T>
void expect_appended(const Case<T>& before, const Case<T>& after) {
  for (int64_t pair = 0; pair < after.batch * after.heads; ++pair) {
    const int64_t sequence = pair / after.heads;
    const int64_t head = pair % after.heads;
    for (int64_t at = 0; at < after.capacity; ++at) {
      const int64_t t = at - after.position;
      const bool is_new = t >= 0 && t < after.time;
      for (int64_t i = 0; i < after.head_dim; ++i) {
        const int64_t element = after.in_cache(sequence, head, at) + i;
        const int64_t row = sequence * after.time + t;
        const double key = is_new ? after.qkv.at(after.in_qkv(row, 1, head) + i) : before.keys.at(element);
        const double value =
            is_new ? after.qkv.at(after.in_qkv(row, 2, head) + i) : before.values.at(element);
        ASSERT_EQ(after.keys.at(element), key) << "position " << at;
        ASSERT_EQ(after.values.at(element), value) << "position " << at;
      }
    }
  }
}

// Softmax in fp64 over the keys that a query sees.
template <typename T>
void expect_attended(const Case<T>& c, int64_t row, int64_t head) {
  const int64_t sequence = row / c.time;
  const int64_t count = c.num_keys.data()[row];
  const int64_t first = c.position + row % c.time + 1 - count;
  const double scale = 1.0 / std::sqrt(static_cast<double>(c.head_dim));
  std::vector<double> weights(static_cast<size_t>(count));
  double largest_terms = 0.0, largest = -kInfinity, smallest = kInfinity;  // of finite scores
  for (int64_t j = 0; j < count; ++j) {
    double score = 0.0, terms = 0.0;
    for (int64_t i = 0; i < c.head_dim; ++i) {
      const double product =
          c.qkv.at(c.in_qkv(row, 0, head) + i) * c.keys.at(c.in_cache(sequence, head, first + j) + i);
      score += product * scale;
      terms += std::abs(product) * scale;
    }
    weights[static_cast<size_t>(j)] = score;
    if (score == -kInfinity) continue;
    largest_terms = std::max(largest_terms, terms);
    largest = std::max(largest, score);
    smallest = std::min(smallest, score);
  }
  const double spread = largest - smallest;
  double normalizer = 0.0;
  for (double& weight : weights) normalizer += weight = std::exp(weight - largest);
  // A score adds up to 8 products a lane, those of 4 parts and of 32 lanes, and is scaled: below 20 roundings
  // of the size of its terms. The exponential takes that over as a relative error, with the rounding of its
  // argument and 4 of its own and of a rescaling for each tile. Sums of weights and of values add 8 keys a
  // lane in each tile, then 16 sums. All of that twice: the sum of weights divides that of values.
  const auto tiles = static_cast<double>(divide_up(count, kCacheTile));
  const double roundings = 2.0 * (20.0 * largest_terms + 2.0 * spread + 4.0 * tiles + 8.0 * tiles + 24.0);
  for (int64_t i = 0; i < c.head_dim; ++i) {
    double sum = 0.0, terms = 0.0;
    for (int64_t j = 0; j < count; ++j) {
      const double value = c.values.at(c.in_cache(sequence, head, first + j) + i);
      sum += weights[static_cast<size_t>(j)] / normalizer * value;
      terms += weights[static_cast<size_t>(j)] / normalizer * std::abs(value);
    }
    ASSERT_TRUE(near<T>(c.out.at((row * c.heads + head) * c.head_dim + i), sum, roundings, terms))
        << "row " << row << ", head " << head << ", column " << i << ", " << count << " keys";
  }
}

TYPED_TEST(CudaCachedAttention, AppendsAndIsSoftmaxOverTheKeysThatAQuerySees) {
  for (const int64_t head_dim : {2, 10, 32, 64, 80, 96, 128, 264}) {
    SCOPED_TRACE(head_dim);
    Case<TypeParam> c(2, 2, 2, head_dim, 21, 25);
    const std::vector<int32_t> num_keys = {22, 23, 7, 1};
    std::copy(num_keys.begin(), num_keys.end(), c.num_keys.data());
    const Case<TypeParam> before = c;
    c.run();
    expect_appended(before, c);
    for (int64_t row = 0; row < 4; ++row) {
      for (int64_t head = 0; head < 2; ++head) expect_attended(c, row, head);
    }
  }
}

// Scores that spread over tens: the largest so far changes from tile to tile.
TYPED_TEST(CudaCachedAttention, IsSoftmaxOverManyTiles) {
  for (const int64_t count : {1, 255, 256, 257, 1024, 1500}) {
    Case<TypeParam> c(1, 1, 1, 64, count - 1, count, /*deviation=*/2.0);
    c.run();
    expect_attended(c, 0, 0);
  }
}

// Also where a lane has a whole key: nothing but the block's barriers keeps its warp together.
TYPED_TEST(CudaCachedAttention, GivesTheSameBitsInEveryOrderOfThreads) {
  for (const int64_t head_dim : {80, kVector<TypeParam>}) {
    const Case<TypeParam> before(1, 2, 2, head_dim, 600, 602);
    Case<TypeParam> rising = before;
    rising.run();
    for (const OrderOfThreads order : {OrderOfThreads::kFalling, OrderOfThreads::kShuffled}) {
      emulation::order_of_threads = order;
      Case<TypeParam> other = before;
      other.run();
      EXPECT_TRUE(other.out == rising.out && other.keys == rising.keys && other.values == rising.values);
    }
    emulation::order_of_threads = OrderOfThreads::kRising;
  }
}

// For one sequence, and one token at a time.
TYPED_TEST(CudaCachedAttention, GivesATokenTheSameBitsAloneAndAmongOthers) {
  constexpr int64_t kBatch = 2, kHeads = 2, kTime = 3, kDim = 64, kPosition = 270;
  const Case<TypeParam> before(kBatch, kHeads, kTime, kDim, kPosition, kPosition + kTime);
  Case<TypeParam> together = before;
  together.run();
  Case<TypeParam> alone(1, kHeads, 1, kDim, kPosition, kPosition + kTime);
  constexpr int64_t kCacheElements = kHeads * (kPosition + kTime) * kDim;
  std::copy_n(before.keys.data() + kCacheElements, kCacheElements, alone.keys.data());
  std::copy_n(before.values.data() + kCacheElements, kCacheElements, alone.values.data());
  for (int64_t t = 0; t < kTime; ++t) {
    const int64_t row = kTime + t;
    alone.position = kPosition + t;
    alone.num_keys.data()[0] = before.num_keys.data()[row];
    std::copy_n(before.qkv.data() + before.in_qkv(row, 0, 0), 3 * kHeads * kDim, alone.qkv.data());
    alone.run();
    for (int64_t i = 0; i < kHeads * kDim; ++i) {
      EXPECT_EQ(alone.out.at(i), together.out.at(row * kHeads * kDim + i)) << t << ", " << i;
    }
  }
}

TYPED_TEST(CudaCachedAttention, KeysThatAreNotThereMakeTheirQueryNotANumber) {
  for (const int32_t bad : {0, -5, 24}) {
    for (const int64_t head_dim : {10, 64}) {
      Case<TypeParam> c(1, 2, 2, head_dim, 21, 30);
      c.num_keys.data()[0] = bad;
      c.run();
      for (int64_t i = 0; i < 2 * head_dim; ++i) EXPECT_TRUE(std::isnan(c.out.at(i)));
      expect_attended(c, 1, 0);
      expect_attended(c, 1, 1);
    }
  }
}

TYPED_TEST(CudaCachedAttention, NumbersThatAreNotFiniteReachTheQueriesThatSeeThem) {
  for (const double bad : {std::nan(""), kInfinity}) {
    Case<TypeParam> c(1, 1, 2, 64, 400, 402);
    c.keys.set(c.in_cache(0, 0, 300), bad);
    c.qkv.set(c.in_qkv(0, 0, 0), 1.0);
    c.num_keys.data()[1] = 50;  // from position 352 on
    c.run();
    EXPECT_TRUE(std::isnan(c.out.at(0)));
    expect_attended(c, 1, 0);
  }
  Case<TypeParam> c(1, 1, 1, 64, 400, 401);
  c.values.set(c.in_cache(0, 0, 300) + 5, std::nan(""));
  c.run();
  for (int64_t i = 0; i < 64; ++i) EXPECT_EQ(std::isnan(c.out.at(i)), i == 5);
}

// Also where a whole tile has no other.
TYPED_TEST(CudaCachedAttention, ScoresOfMinusInfinityWeighNothingBesideOthers) {
  for (const int64_t infinite : {10, 300}) {
    Case<TypeParam> c(1, 1, 2, 64, 399, 401);
    for (int64_t t = 0; t < 2; ++t) c.qkv.set(c.in_qkv(t, 0, 0), 1.0);
    for (int64_t at = 0; at < infinite; ++at) c.keys.set(c.in_cache(0, 0, at), -kInfinity);
    c.run();
    for (int64_t row = 0; row < 2; ++row) expect_attended(c, row, 0);
  }
  Case<TypeParam> nothing_else(1, 1, 1, 64, 0, 1);
  nothing_else.qkv.set(nothing_else.in_qkv(0, 0, 0), 1.0);
  nothing_else.qkv.set(nothing_else.in_qkv(0, 1, 0), -kInfinity);
  nothing_else.run();
  EXPECT_TRUE(std::isnan(nothing_else.out.at(0)));
}

TYPED_TEST(CudaCachedAttention, OfNoSequencesLaunchesNothing) {
  Case<TypeParam>(0, 2, 1, 64, 3, 8).run();
}

}  // namespace
}  // namespace ssgpt::kernels::cuda
