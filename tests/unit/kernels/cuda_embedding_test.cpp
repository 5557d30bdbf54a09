// The kernels of the embedding, on a CPU.
#include "kernels/cuda/embedding.cuh"
#include "kernels/cuda_support.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <numeric>
#include <random>
#include <set>
#include <vector>

#include <gtest/gtest.h>

namespace ssgpt::kernels::cuda {
namespace {

using emulation::OrderOfThreads;

// Not whole vectors, with the columns of one warp and of more; whole vectors, likewise.
constexpr std::array<int64_t, 5> kWidths = {1, 7, 33, 40, 264};

template <typename T>
class CudaEmbedding : public testing::Test {
 protected:
  void TearDown() override { emulation::order_of_threads = OrderOfThreads::kRising; }
};
TYPED_TEST_SUITE(CudaEmbedding, DataTypes);

// --- Forward

// After the rows come tokens that must not be read, and rows that must not be written.
template <typename T>
Array<T> forward(std::vector<int64_t> tokens, const Array<T>& table, int64_t width) {
  const auto rows = static_cast<int64_t>(tokens.size());
  Array<T> out(rows * width);
  out.fill(-7.0);
  tokens.resize(tokens.size() + kEmbeddingRows, 0);
  embedding_forward<T>(tokens.data(), table.data(), out.data(), rows, width, table.size() / width, nullptr);
  return out;
}

TYPED_TEST(CudaEmbedding, ForwardCopiesRowsBitByBit) {
  using T = TypeParam;
  constexpr int64_t kVocab = 19;
  // More columns than a block takes, with vectors and without.
  for (const int64_t width : {1, 7, 8, 40, 264, 770, 2048, 2056}) {
    Array<T> table = random_array<T>(kVocab * width, 1.0);
    table.set(0, -0.0);
    table.set(width, std::numeric_limits<double>::infinity());
    table.set(kVocab * width - 1, std::nan(""));
    for (const int64_t rows : {1, 2, 3, 4, 5, 8, 11}) {
      SCOPED_TRACE(testing::Message() << rows << " x " << width);
      // The first token, the last one, again the first, and others.
      std::vector<int64_t> tokens = {0, kVocab - 1, 0};
      for (int64_t row = 3; row < rows; ++row) tokens.push_back(row * row % kVocab);
      tokens.resize(static_cast<size_t>(rows));
      Array<T> expected(rows * width);
      for (int64_t row = 0; row < rows; ++row) {
        const T* from = table.data() + tokens[static_cast<size_t>(row)] * width;
        std::copy(from, from + width, expected.data() + row * width);
      }
      EXPECT_TRUE(forward(tokens, table, width) == expected);
      for (const OrderOfThreads order : {OrderOfThreads::kFalling, OrderOfThreads::kShuffled}) {
        emulation::order_of_threads = order;
        EXPECT_TRUE(forward(tokens, table, width) == expected);
      }
      emulation::order_of_threads = OrderOfThreads::kRising;
    }
  }
}

TYPED_TEST(CudaEmbedding, ForwardMakesRowsOfTokensOutsideOfTheVocabularyNanAndNothingElse) {
  using T = TypeParam;
  constexpr int64_t kVocab = 19;
  constexpr int64_t kFar = int64_t{1} << 40;
  constexpr int64_t k33 = (int64_t{1} << 32) + 2;  // 2 to whoever looks at 32 bits
  const std::vector<int64_t> tokens = {-1, 3,  kVocab, 0,       kFar, 5,  INT64_MIN, 1, INT64_MAX,
                                       18, 18, k33,    -kVocab, 2,    -7, INT32_MIN, 4, INT32_MAX};
  for (const int64_t width : kWidths) {
    const Array<T> table = random_array<T>(kVocab * width, 1.0);
    const Array<T> out = forward(tokens, table, width);
    for (size_t row = 0; row < tokens.size(); ++row) {
      const int64_t begin = static_cast<int64_t>(row) * width;
      for (int64_t i = 0; i < width; ++i) {
        if (tokens[row] >= 0 && tokens[row] < kVocab) {
          ASSERT_EQ(out.at(begin + i), table.at(tokens[row] * width + i)) << "token " << tokens[row];
        } else {
          ASSERT_TRUE(std::isnan(out.at(begin + i))) << "token " << tokens[row];
        }
      }
    }
  }
}

TYPED_TEST(CudaEmbedding, NothingIsLaunchedForNoRows) {
  using T = TypeParam;
  Array<float> d_table = random_array<float>(3 * 8, 1.0);
  const Array<float> before = d_table;
  embedding_forward<T>(nullptr, nullptr, nullptr, 0, 8, 3, nullptr);
  embedding_backward<T>(nullptr, nullptr, nullptr, d_table.data(), 0, 8, 3, nullptr);
  EXPECT_TRUE(d_table == before);
}

// --- Backward

struct Run {
  int32_t token;
  int64_t rows;
};

// The tokens of the runs, in an order of their own.
std::vector<int32_t> shuffled_tokens(const std::vector<Run>& runs) {
  std::vector<int32_t> tokens;
  for (const Run& run : runs) tokens.insert(tokens.end(), static_cast<size_t>(run.rows), run.token);
  std::mt19937 random(3);
  std::shuffle(tokens.begin(), tokens.end(), random);
  return tokens;
}

// Gradients of the rows, and behind them a row of NaN that belongs to nobody.
template <typename T>
Array<T> row_gradients(size_t rows, int64_t width) {
  const auto count = static_cast<int64_t>(rows) * width;
  Array<T> d_out = random_array<T>(count + width, 1.0);
  for (int64_t i = 0; i < width; ++i) d_out.set(count + i, std::nan(""));
  return d_out;
}

// d_table after the backward of these tokens, from `before`. On both sides of what is sorted stand more rows,
// of its outermost token there and of another one in turn: what reads them finds the row of NaN.
template <typename T>
Array<float> backward(const std::vector<int32_t>& tokens, const Array<T>& d_out, const Array<float>& before,
                      int64_t width) {
  constexpr size_t kMargin = 2 * kWarp;
  const auto rows = static_cast<int64_t>(tokens.size());
  std::vector<int64_t> order(tokens.size());
  std::iota(order.begin(), order.end(), int64_t{0});
  std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) {
    return tokens[static_cast<size_t>(a)] < tokens[static_cast<size_t>(b)];
  });
  std::vector<int32_t> sorted;
  for (const int64_t row : order) sorted.push_back(tokens[static_cast<size_t>(row)]);
  const int32_t first = sorted.front();
  const int32_t last = sorted.back();
  for (size_t i = 0; i < kMargin; ++i) {
    sorted.insert(sorted.begin(), i % 2 == 0 ? first : 0);
    sorted.push_back(i % 2 == 0 ? last : 0);
  }
  order.insert(order.begin(), kMargin, rows);
  order.insert(order.end(), kMargin, rows);
  Array<float> d_table = before;
  embedding_backward<T>(sorted.data() + kMargin, order.data() + kMargin, d_out.data(), d_table.data(), rows,
                        width, before.size() / width, nullptr);
  return d_table;
}

bool has_same_bits(const float* a, const float* b, int64_t count) {
  return std::memcmp(a, b, static_cast<size_t>(count) * sizeof(float)) == 0;
}

// The roundings of the longest way of a row of a run into d_table. A short run is added row by row; of a long
// one each warp adds a part, rounds of kRowsAtOnce rows, and the warps are added. Then the sum with what was
// there.
double run_roundings(int64_t rows) {
  constexpr int64_t kRound = kLongRunWarps * kRowsAtOnce;
  const int64_t longest = rows <= kShortRun ? rows : divide_up(rows, kRound) * kRowsAtOnce + kLongRunWarps;
  return static_cast<double>(longest + 1);
}

template <typename T>
void expect_sums(const std::vector<int32_t>& tokens, const Array<T>& d_out, const Array<float>& before,
                 const Array<float>& d_table, int64_t width) {
  const int64_t vocab = before.size() / width;
  std::vector<std::vector<int64_t>> rows_of(static_cast<size_t>(vocab));
  for (size_t row = 0; row < tokens.size(); ++row) {
    if (tokens[row] < 0 || tokens[row] >= vocab) continue;
    rows_of[static_cast<size_t>(tokens[row])].push_back(static_cast<int64_t>(row));
  }
  for (int64_t token = 0; token < vocab; ++token) {
    const std::vector<int64_t>& rows = rows_of[static_cast<size_t>(token)];
    const int64_t begin = token * width;
    if (rows.empty()) {
      ASSERT_TRUE(has_same_bits(d_table.data() + begin, before.data() + begin, width)) << "token " << token;
      continue;
    }
    const double roundings = run_roundings(static_cast<int64_t>(rows.size()));
    for (int64_t i = 0; i < width; ++i) {
      double sum = before.at(begin + i);
      double terms = std::abs(sum);
      for (const int64_t row : rows) {
        sum += d_out.at(row * width + i);
        terms += std::abs(d_out.at(row * width + i));
      }
      ASSERT_TRUE(near<float>(d_table.at(begin + i), sum, roundings, terms))
          << "column " << i << " of token " << token << " of " << rows.size() << " rows";
    }
  }
}

// Tokens without rows have numbers that adding 0 would change.
template <typename T>
void expect_backward(const std::vector<int32_t>& tokens, int64_t vocab, int64_t width) {
  SCOPED_TRACE(testing::Message() << tokens.size() << " x " << width);
  const Array<T> d_out = row_gradients<T>(tokens.size(), width);
  Array<float> before = random_array<float>(vocab * width, 2.0);
  const std::set<int32_t> present(tokens.begin(), tokens.end());
  for (int64_t token = 0; token < vocab; ++token) {
    if (present.contains(static_cast<int32_t>(token))) continue;
    for (int64_t i = 0; i < width; ++i) before.set(token * width + i, -0.0);
  }
  expect_sums(tokens, d_out, before, backward(tokens, d_out, before, width), width);
}

TYPED_TEST(CudaEmbedding, BackwardAddsRowsWhoseTokensAllDiffer) {
  std::vector<Run> runs;
  for (int32_t token = 0; token < 20; ++token) runs.push_back({token, 1});
  expect_backward<TypeParam>(shuffled_tokens(runs), 20, 8);  // all that there are
  for (Run& run : runs) run.token = 2 * run.token + 1;
  for (const int64_t width : kWidths) {
    expect_backward<TypeParam>({5}, 6, width);
    expect_backward<TypeParam>(shuffled_tokens(runs), 43, width);
  }
}

TYPED_TEST(CudaEmbedding, BackwardAddsRowsOfOneToken) {
  for (const int64_t width : kWidths) expect_backward<TypeParam>(std::vector<int32_t>(150, 2), 4, width);
  // Several rounds of a block; in the last one a warp has 3 rows, or 5.
  for (const size_t rows : {643, 709}) expect_backward<TypeParam>(std::vector<int32_t>(rows, 0), 1, 8);
}

TYPED_TEST(CudaEmbedding, BackwardAddsRunsOfEveryLength) {
  std::vector<Run> runs;
  for (int32_t rows = 1; rows <= 40; ++rows) runs.push_back({3 * rows / 2, rows});
  for (const int64_t width : {7, 40}) expect_backward<TypeParam>(shuffled_tokens(runs), 63, width);
}

static_assert(kShortRun == 16);
constexpr std::array<int64_t, 8> kLengths = {1, 8, 15, 16, 17, 31, 32, 33};

// Runs one after the other, of each of the lengths one that begins at each distance from a multiple of
// kShortRun. Neighbours of theirs have any other length, and a single row leads to a distance that is still
// needed.
std::vector<Run> runs_of_every_alignment() {
  std::array<std::vector<int64_t>, kShortRun> missing;
  missing.fill({kLengths.begin(), kLengths.end()});
  std::vector<Run> runs;
  int64_t rows = 0;
  const auto append = [&](int64_t length) {
    runs.push_back({static_cast<int32_t>(runs.size()), length});
    rows += length;
  };
  const auto is_done = [](const std::vector<int64_t>& lengths) {
    return lengths.empty();
  };
  while (!std::all_of(missing.begin(), missing.end(), is_done)) {
    std::vector<int64_t>& here = missing[static_cast<size_t>(rows % kShortRun)];
    if (here.empty()) {
      append(1);
      continue;
    }
    const size_t which = runs.size() % here.size();
    const int64_t length = here[which];
    here.erase(here.begin() + static_cast<std::ptrdiff_t>(which));
    append(length);
  }
  return runs;
}

TYPED_TEST(CudaEmbedding, BackwardAddsRunsThatBeginAnywhere) {
  const std::vector<Run> runs = runs_of_every_alignment();
  const std::vector<int32_t> tokens = shuffled_tokens(runs);
  EXPECT_GE(tokens.size(), kShortRun * std::accumulate(kLengths.begin(), kLengths.end(), size_t{0}));
  expect_backward<TypeParam>(tokens, static_cast<int64_t>(runs.size()), 8);
}

// The run is the first and the last, or the last behind one of a few rows.
TYPED_TEST(CudaEmbedding, BackwardAddsTheFirstAndTheLastRun) {
  for (const int64_t length : kLengths) {
    for (const int64_t rows_before : {0, 1, kShortRun - 1, kShortRun}) {
      std::vector<Run> runs = {{4, length}};
      if (rows_before > 0) runs.push_back({1, rows_before});
      expect_backward<TypeParam>(shuffled_tokens(runs), 6, 7);
    }
  }
}

// As on a CPU, except that the sum with the earlier value comes last.
TYPED_TEST(CudaEmbedding, BackwardAddsAShortRunInTheOrderOfItsRows) {
  using T = TypeParam;
  std::vector<Run> runs;
  for (int32_t rows = 1; rows <= kShortRun; ++rows) runs.push_back({rows - 1, rows});
  const std::vector<int32_t> tokens = shuffled_tokens(runs);
  for (const int64_t width : {7, 40}) {
    const Array<T> d_out = row_gradients<T>(tokens.size(), width);
    const Array<float> before = random_array<float>(kShortRun * width, 2.0);
    Array<float> expected(before.size());
    expected.fill(0.0);
    for (int64_t i = 0; i < static_cast<int64_t>(tokens.size()) * width; ++i) {
      expected.data()[tokens[static_cast<size_t>(i / width)] * width + i % width] +=
          to_float(d_out.data()[i]);
    }
    for (int64_t i = 0; i < before.size(); ++i) expected.data()[i] += before.data()[i];
    EXPECT_TRUE(backward(tokens, d_out, before, width) == expected);
  }
}

TYPED_TEST(CudaEmbedding, BackwardGivesTheSameBitsInEveryOrderOfThreads) {
  using T = TypeParam;
  const std::vector<int32_t> tokens =
      shuffled_tokens({{-1, 20}, {0, 1}, {2, 3}, {3, 17}, {4, 150}, {6, kShortRun}, {8, 40}, {9, 20}});
  for (const int64_t width : kWidths) {
    const Array<T> d_out = row_gradients<T>(tokens.size(), width);
    const Array<float> before = random_array<float>(9 * width, 1.0);
    const Array<float> rising = backward(tokens, d_out, before, width);
    for (const OrderOfThreads order : {OrderOfThreads::kFalling, OrderOfThreads::kShuffled}) {
      emulation::order_of_threads = order;
      EXPECT_TRUE(backward(tokens, d_out, before, width) == rising);
    }
    emulation::order_of_threads = OrderOfThreads::kRising;
  }
}

TYPED_TEST(CudaEmbedding, BackwardLeavesOutTokensOutsideOfTheVocabulary) {
  using T = TypeParam;
  constexpr int32_t kVocab = 5;
  // Short and long runs of them, beside tokens that count and alone.
  const std::vector<Run> outside = {{INT32_MIN, 2}, {-7, 40}, {-1, 3}, {kVocab, 17}, {INT32_MAX, 33}};
  const std::vector<Run> others = {{-kVocab, 16}, {-1, 17}, {kVocab, 3}, {kVocab + 1, 16}};
  const std::vector<Run> inside = {{0, 20}, {1, 1}, {4, 16}};
  const auto joined = [](std::vector<Run> a, const std::vector<Run>& b) {
    a.insert(a.end(), b.begin(), b.end());
    return a;
  };
  for (const std::vector<Run>& runs : {outside, others, joined(outside, inside), joined(others, inside)}) {
    const std::vector<int32_t> tokens = shuffled_tokens(runs);
    for (const int64_t width : {7, 40}) {
      expect_backward<T>(tokens, kVocab, width);
      // Not even what is no number comes through.
      Array<T> d_out = row_gradients<T>(tokens.size(), width);
      const Array<float> before = random_array<float>(kVocab * width, 1.0);
      const Array<float> clean = backward(tokens, d_out, before, width);
      for (size_t row = 0; row < tokens.size(); ++row) {
        if (tokens[row] >= 0 && tokens[row] < kVocab) continue;
        for (int64_t i = 0; i < width; ++i) d_out.set(static_cast<int64_t>(row) * width + i, std::nan(""));
      }
      EXPECT_TRUE(backward(tokens, d_out, before, width) == clean);
    }
  }
}

TYPED_TEST(CudaEmbedding, BackwardLetsNanAndInfinityThroughInTheirTokensColumnAlone) {
  using T = TypeParam;
  const std::vector<int32_t> tokens = shuffled_tokens({{0, 3}, {1, 40}, {2, 16}, {3, 1}});
  for (const int64_t width : {33, 40}) {
    const Array<T> clean_d_out = row_gradients<T>(tokens.size(), width);
    const Array<float> before = random_array<float>(4 * width, 1.0);
    const Array<float> clean = backward(tokens, clean_d_out, before, width);
    for (const double bad : {std::nan(""), std::numeric_limits<double>::infinity()}) {
      for (const int32_t token : {0, 1}) {
        Array<T> d_out = clean_d_out;
        const auto row = std::find(tokens.begin(), tokens.end(), token) - tokens.begin();
        d_out.set(row * width + 5, bad);
        const Array<float> d_table = backward(tokens, d_out, before, width);
        for (int64_t i = 0; i < 4 * width; ++i) {
          if (i == token * width + 5) {
            EXPECT_FALSE(std::isfinite(d_table.at(i)));
          } else {
            EXPECT_EQ(d_table.at(i), clean.at(i));
          }
        }
      }
    }
  }
}

}  // namespace
}  // namespace ssgpt::kernels::cuda
