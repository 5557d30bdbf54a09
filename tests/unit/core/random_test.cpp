#include "core/random.h"

#include <cmath>
#include <set>
#include <string>

#include <gtest/gtest.h>

namespace ssgpt::core {
namespace {

using Words = std::array<uint32_t, 4>;

// The three vectors of "philox4x32 10" in kat_vectors of the authors' Random123 distribution.
TEST(Philox, GivesTheAuthorsTestVectors) {
  EXPECT_EQ(philox4x32({0, 0, 0, 0}, {0, 0}), (Words{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  EXPECT_EQ(philox4x32({0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff}, {0xffffffff, 0xffffffff}),
            (Words{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  EXPECT_EQ(philox4x32({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}),
            (Words{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

TEST(RandomBits, AreTheFirstWordsOfTheIndexedBlock) {
  EXPECT_EQ(random_bits(/*key=*/0, /*index=*/0), 0xe169c58d6627e8d5);
  const uint64_t key = 0x299f31d0a4093822;
  const uint64_t index = 0x0123456789abcdef;
  const Words words = philox4x32({0x89abcdef, 0x01234567, 0, 0}, {0xa4093822, 0x299f31d0});
  EXPECT_EQ(random_bits(key, index), (uint64_t{words[1]} << 32) | words[0]);
}

TEST(StreamKey, DiffersBySeedAndByName) {
  std::set<uint64_t> keys;
  for (uint64_t seed = 0; seed < 10; ++seed) {
    for (int layer = 0; layer < 100; ++layer) {
      keys.insert(stream_key(seed, "model.layers." + std::to_string(layer) + ".weight"));
    }
    keys.insert(stream_key(seed, ""));
  }
  EXPECT_EQ(keys.size(), 10u * 101u);
  EXPECT_EQ(stream_key(7, "a"), stream_key(7, "a"));
}

// With 2^20 values each bound is five standard errors: of the mean of U(0, 1), 1 / sqrt(12 N), and so on.
TEST(RandomUniform, HasTheMomentsOfTheUniformDistribution) {
  constexpr int kCount = 1 << 20;
  const uint64_t key = stream_key(1, "uniform");
  double sum = 0;
  double sum_of_squares = 0;
  for (int i = 0; i < kCount; ++i) {
    const double value = random_uniform(key, static_cast<uint64_t>(i));
    ASSERT_GE(value, 0.0);
    ASSERT_LT(value, 1.0);
    sum += value;
    sum_of_squares += value * value;
  }
  EXPECT_NEAR(sum / kCount, 0.5, 5 * std::sqrt(1.0 / 12 / kCount));
  EXPECT_NEAR(sum_of_squares / kCount, 1.0 / 3, 5 * std::sqrt(4.0 / 45 / kCount));
}

// Five standard errors again: the variances of x, x^2, x^3, x^4 and x y are 1, 2, 15, 96 and 1.
TEST(RandomNormal, HasTheMomentsOfTheNormalDistribution) {
  constexpr int kCount = 1 << 20;
  const uint64_t key = stream_key(1, "normal");
  double moment[5] = {};
  double neighbours = 0;
  double beyond_three = 0;
  double previous = 0;
  for (int i = 0; i < kCount; ++i) {
    const double value = random_normal(key, static_cast<uint64_t>(i));
    double power = 1;
    for (double& each : moment) {
      each += power / kCount;
      power *= value;
    }
    neighbours += value * previous / kCount;
    beyond_three += std::abs(value) > 3 ? 1.0 / kCount : 0.0;
    previous = value;
  }
  const auto bound = [](double variance) {
    return 5 * std::sqrt(variance / kCount);
  };
  EXPECT_NEAR(moment[1], 0.0, bound(1));
  EXPECT_NEAR(moment[2], 1.0, bound(2));
  EXPECT_NEAR(moment[3], 0.0, bound(15));
  EXPECT_NEAR(moment[4], 3.0, bound(96));
  EXPECT_NEAR(neighbours, 0.0, bound(1));
  EXPECT_NEAR(beyond_three, std::erfc(3 / std::sqrt(2.0)), bound(0.0027));
}

}  // namespace
}  // namespace ssgpt::core
