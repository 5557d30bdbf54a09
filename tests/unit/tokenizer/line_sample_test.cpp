#include "tokenizer/line_sample.h"

#include <cstdint>
#include <string>
#include <vector>

#include <gtest/gtest.h>

namespace ssgpt::tokenizer {
namespace {

TEST(LineSample, KeepsAllInOrderWhereItFits) {
  LineSample sample(1, 1000);
  std::vector<std::string> lines;
  for (int i = 0; i < 100; ++i) {
    lines.push_back("line " + std::to_string(i));
    sample.add(lines.back());
  }
  EXPECT_EQ(sample.bytes_seen(), sample.bytes_kept());
  EXPECT_EQ(sample.take(), lines);
}

TEST(LineSample, FillsTheBudgetEvenlyOverTheStream) {
  constexpr int kLines = 50'000;
  LineSample sample(2, 80'000);  // a fifth of the lines, which have 8 bytes each
  for (int i = 0; i < kLines; ++i) {
    sample.add(std::to_string(10'000'000 + i));
  }
  EXPECT_LE(sample.bytes_kept(), 80'000u);
  EXPECT_GT(sample.bytes_kept(), 80'000u - 8);
  std::vector<int> tenths(10);
  int before = -1;
  for (const std::string& line : sample.take()) {
    const int number = std::stoi(line) - 10'000'000;
    EXPECT_GT(number, before);
    before = number;
    ++tenths[static_cast<size_t>(number / (kLines / 10))];
  }
  for (const int count : tenths) {
    EXPECT_NEAR(count, 1000, 150);  // binomial with standard deviation 28: five of them
  }
}

TEST(LineSample, IsAFunctionOfTheSeed) {
  const auto sample_of = [](uint64_t seed) {
    LineSample sample(seed, 100);
    for (int i = 0; i < 1000; ++i) {
      sample.add(std::to_string(1000 + i));
    }
    return sample.take();
  };
  EXPECT_EQ(sample_of(3), sample_of(3));
  EXPECT_NE(sample_of(3), sample_of(4));
}

}  // namespace
}  // namespace ssgpt::tokenizer
