#include "data/sampler.h"

#include <cmath>
#include <cstdint>
#include <set>
#include <vector>

#include <gtest/gtest.h>

namespace ssgpt::data {
namespace {

std::vector<int64_t> epoch_order(const WindowSampler& sampler, int64_t epoch) {
  std::vector<int64_t> order;
  for (int64_t i = 0; i < sampler.num_windows(); ++i) {
    order.push_back(sampler.window(epoch * sampler.num_windows() + i));
  }
  return order;
}

class Sampler : public ::testing::TestWithParam<int64_t> {};

TEST_P(Sampler, ReadsEveryWindowOnceAnEpoch) {
  const int64_t n = GetParam();
  for (const uint64_t seed : {0u, 1u, 77u}) {
    const WindowSampler sampler(seed, n);
    for (const int64_t epoch : {0, 1, 5}) {
      const std::vector<int64_t> order = epoch_order(sampler, epoch);
      const std::set<int64_t> windows(order.begin(), order.end());
      ASSERT_EQ(static_cast<int64_t>(windows.size()), n);
      EXPECT_EQ(*windows.begin(), 0);
      EXPECT_EQ(*windows.rbegin(), n - 1);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Sizes, Sampler,
                         ::testing::Values(1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 63, 64, 65, 1000, 1024, 4095,
                                           4096, 4097, 65537));

TEST(SamplerOrder, DiffersByEpochAndBySeed) {
  const WindowSampler sampler(1, 1000);
  EXPECT_NE(epoch_order(sampler, 0), epoch_order(sampler, 1));
  EXPECT_NE(epoch_order(sampler, 1), epoch_order(sampler, 2));
  EXPECT_NE(epoch_order(sampler, 0), epoch_order(WindowSampler(2, 1000), 0));
  EXPECT_EQ(epoch_order(sampler, 3), epoch_order(WindowSampler(1, 1000), 3));
}

// Each (place, window) pair of a random permutation has probability 1/n: chi-square with (n - 1)^2 degrees of
// freedom over many epochs, accepted within five standard deviations.
TEST(SamplerOrder, PutsEveryWindowAtEveryPlaceEquallyOften) {
  constexpr int64_t kWindows = 13;
  constexpr int64_t kEpochs = 20'000;
  const WindowSampler sampler(5, kWindows);
  std::vector<std::vector<int64_t>> counts(kWindows, std::vector<int64_t>(kWindows));
  for (int64_t epoch = 0; epoch < kEpochs; ++epoch) {
    const std::vector<int64_t> order = epoch_order(sampler, epoch);
    for (size_t place = 0; place < order.size(); ++place) {
      ++counts[place][static_cast<size_t>(order[place])];
    }
  }
  const double expected = static_cast<double>(kEpochs) / kWindows;
  double chi_square = 0;
  for (const auto& row : counts) {
    for (const int64_t count : row) {
      const double difference = static_cast<double>(count) - expected;
      chi_square += difference * difference / expected;
    }
  }
  const double freedom = (kWindows - 1) * (kWindows - 1);
  EXPECT_NEAR(chi_square, freedom, 5 * std::sqrt(2 * freedom));
}

TEST(SamplerOrder, WorksForMoreWindowsThan32BitsCount) {
  constexpr int64_t kWindows = (int64_t{1} << 40) + 12345;
  const WindowSampler sampler(3, kWindows);
  std::set<int64_t> windows;
  bool beyond_32_bits = false;
  for (int64_t sample = 0; sample < 10'000; ++sample) {
    const int64_t window = sampler.window(sample + 7 * kWindows);
    ASSERT_GE(window, 0);
    ASSERT_LT(window, kWindows);
    beyond_32_bits = beyond_32_bits || window > UINT32_MAX;
    windows.insert(window);
  }
  EXPECT_EQ(windows.size(), 10'000u);
  EXPECT_TRUE(beyond_32_bits);
}

TEST(SampledWindow, SpreadsASampleEvenlyAndIsEachWindowOnceWhereItIsAll) {
  for (int64_t i = 0; i < 7; ++i) EXPECT_EQ(sampled_window(i, 7, 7), i);
  std::vector<int64_t> windows;
  for (int64_t i = 0; i < 4; ++i) windows.push_back(sampled_window(i, 4, 110));
  EXPECT_EQ(windows, (std::vector<int64_t>{0, 27, 55, 82}));  // floor(i * 110 / 4)
  const int64_t many = int64_t{1} << 61;                      // i * available would overflow
  EXPECT_EQ(sampled_window(3, 4, many), 3 * (many / 4));
}

}  // namespace
}  // namespace ssgpt::data
