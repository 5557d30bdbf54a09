#include "tokenizer/line_sample.h"

#include <cstdint>
#include <malloc.h>
#include <string>
#include <vector>

#include <gtest/gtest.h>

namespace ssgpt::tokenizer {
namespace {

TEST(LineSample, KeepsAllInOrderWhereItFits) {
  LineSample sample(1, 10'000);
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
  constexpr uint64_t kBudget = 880'000;  // a fifth of the lines: 8 bytes each, and 80 beside them
  LineSample sample(2, kBudget);
  for (int i = 0; i < kLines; ++i) {
    sample.add(std::to_string(10'000'000 + i));
  }
  EXPECT_EQ(sample.bytes_kept(), 80'000u);
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
    LineSample sample(seed, 2000);
    for (int i = 0; i < 1000; ++i) {
      sample.add(std::to_string(1000 + i));
    }
    return sample.take();
  };
  EXPECT_EQ(sample_of(3), sample_of(3));
  EXPECT_NE(sample_of(3), sample_of(4));
}

// As malloc counts it, for lines whose text is the smallest part, and for lines kept on the heap.
TEST(LineSample, ItsMemoryStaysWithinTheBudget) {
  constexpr uint64_t kBudget = 4 << 20;
  for (const size_t length : {1u, 20u, 200u}) {
    const std::string line(length, 'x');
    const uint64_t before = ::mallinfo2().uordblks;
    LineSample sample(5, kBudget);
    for (int i = 0; i < 500'000; ++i) {
      sample.add(line);
    }
    // A deque holds blocks of 512 bytes and their addresses; a line or two may be in excess.
    EXPECT_LT(::mallinfo2().uordblks - before, kBudget + 4096) << length;
    const auto lines = sample.take();
    EXPECT_LT(::mallinfo2().uordblks - before, kBudget + 4096) << length;
    EXPECT_GT(lines.size(), kBudget / (length + 100)) << length;
  }
}

}  // namespace
}  // namespace ssgpt::tokenizer
