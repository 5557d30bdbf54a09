// The kernel of softmax cross-entropy, on a CPU.
#include "kernels/cuda/cross_entropy.cuh"
#include "kernels/cuda_support.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <vector>

#include <gtest/gtest.h>

namespace ssgpt::kernels::cuda {
namespace {

using emulation::OrderOfThreads;
constexpr double kInfinity = std::numeric_limits<double>::infinity();

template <typename T>
class CudaCrossEntropy : public testing::Test {
 protected:
  void TearDown() override { emulation::order_of_threads = OrderOfThreads::kRising; }
};
TYPED_TEST_SUITE(CudaCrossEntropy, DataTypes);

template <typename T>
struct Result {
  Array<float> losses;
  Array<T> logits;
};
// All variants: the losses alone leave the logits as they are and have the same bits, as has a row in shared
// memory.
template <typename T>
Result<T> run(const Array<T>& logits, const std::vector<int64_t>& targets, int64_t columns, int64_t vocab) {
  const auto rows = static_cast<int64_t>(targets.size());
  Result<T> result = {Array<float>(rows), logits};
  Result<T> shared = result;
  cross_entropy<T>(result.logits.data(), targets.data(), result.losses.data(), rows, columns, vocab,
                   /*leave_gradient=*/true, CrossEntropyRow::kGlobal, nullptr);
  cross_entropy<T>(shared.logits.data(), targets.data(), shared.losses.data(), rows, columns, vocab,
                   /*leave_gradient=*/true, CrossEntropyRow::kShared, nullptr);
  EXPECT_TRUE(shared.losses == result.losses && shared.logits == result.logits);
  if (emulation::order_of_threads != OrderOfThreads::kRising) return result;
  Result<T> alone = {Array<float>(rows), logits};
  cross_entropy<T>(alone.logits.data(), targets.data(), alone.losses.data(), rows, columns, vocab,
                   /*leave_gradient=*/false, CrossEntropyRow::kShared, nullptr);
  EXPECT_TRUE(alone.losses == result.losses && alone.logits == logits);
  return result;
}

template <typename T>
double log_sum_exp_of(const Array<T>& logits, int64_t begin, int64_t count) {
  double largest = -kInfinity;
  for (int64_t i = 0; i < count; ++i) largest = std::max(largest, logits.at(begin + i));
  double sum = 0.0;
  for (int64_t i = 0; i < count; ++i) sum += std::exp(logits.at(begin + i) - largest);
  return largest + std::log(sum);
}

struct Case {
  int64_t rows, vocab, padding;
};

TYPED_TEST(CudaCrossEntropy, FollowsTheFormulaAndTheThreadsOrderDoesNotMatter) {
  using T = TypeParam;
  // Whole vectors and not; padding within the last vector, and of whole vectors; more than all threads load.
  for (const auto& [rows, vocab, padding] :
       {Case{1, 1, 0}, Case{4, 1, 7}, Case{3, 8, 0}, Case{2, 37, 0}, Case{2, 37, 27}, Case{3, 1000, 24},
        Case{2, 50257, 47}, Case{1, 50257, 0}, Case{2, 200000, 0}, Case{1, 199999, 2}}) {
    SCOPED_TRACE(testing::Message() << rows << " rows of " << vocab << " + " << padding);
    const int64_t columns = vocab + padding;
    Array<T> logits = random_array<T>(rows * columns, 4.0);
    std::vector<int64_t> targets;
    for (int64_t row = 0; row < rows; ++row) {
      targets.push_back(row == 3 ? -100 : (vocab - 1) * (row + 1) % vocab);
      for (int64_t i = vocab; i < columns; ++i) logits.set(row * columns + i, i % 2 == 0 ? kInfinity : NAN);
    }
    const Result<T> result = run(logits, targets, columns, vocab);
    for (const OrderOfThreads order : {OrderOfThreads::kFalling, OrderOfThreads::kShuffled}) {
      emulation::order_of_threads = order;
      const Result<T> again = run(logits, targets, columns, vocab);
      EXPECT_TRUE(again.losses == result.losses && again.logits == result.logits);
    }
    emulation::order_of_threads = OrderOfThreads::kRising;

    // Relative error of the sum of exponentials: the additions of a thread, with at most one rescaling per
    // vector, 4 + 16 of warps; the exponentials themselves, where those that matter have arguments of a few
    // units.
    const double sum_roundings = 2.0 * static_cast<double>(columns) / kCrossEntropyThreads + 60.0;
    for (int64_t row = 0; row < rows; ++row) {
      const int64_t target = targets[static_cast<size_t>(row)];
      const int64_t begin = row * columns;
      if (target < 0) {
        EXPECT_EQ(result.losses.at(row), 0.0);
        for (int64_t i = 0; i < columns; ++i) EXPECT_EQ(result.logits.at(begin + i), 0.0);
        continue;
      }
      const double normalizer = log_sum_exp_of(logits, begin, vocab);
      const double logit = logits.at(begin + target);
      // logsumexp and the difference are rounded, the sum's error is one of the logarithm.
      const double size = 1.0 + std::abs(normalizer) + std::abs(logit);
      EXPECT_TRUE(near<float>(result.losses.at(row), normalizer - logit, sum_roundings, size));
      for (int64_t i = 0; i < columns; ++i) {
        const double x = logits.at(begin + i);
        const double p = i < vocab ? std::exp(x - normalizer) : 0.0;
        // logsumexp's error, the difference's and the product's with log2(e) are relative errors of e^x.
        const double roundings =
            sum_roundings + 2 * size + 3 * std::abs(i < vocab ? x - normalizer : 0.0) + 6;
        ASSERT_TRUE(near<T>(result.logits.at(begin + i), i == target ? p - 1.0 : p, roundings, p))
            << "column " << i;
      }
    }
  }
}

TYPED_TEST(CudaCrossEntropy, SizesThatOverflowAnExponentialAreNoMatter) {
  using T = TypeParam;
  for (const double size : {30000.0, 3e38}) {
    Array<T> logits(2 * 40);
    logits.fill(-size);
    logits.set(3, size);
    logits.set(40 + 5, size);
    logits.set(40 + 6, size);
    const Result<T> result = run(logits, {3, 6}, 40, 40);
    EXPECT_EQ(result.losses.at(0), 0.0);
    for (int64_t i = 0; i < 40; ++i) EXPECT_EQ(result.logits.at(i), 0.0);
    // The other row's two are alike: log 2, which is lost beside 3e38.
    if (size < 1e38) {
      EXPECT_NEAR(result.losses.at(1), std::log(2.0), 30000.0 * 0x1p-23);
    }
  }
}

TYPED_TEST(CudaCrossEntropy, InfinitiesAndNaNGoThrough) {
  using T = TypeParam;
  constexpr int64_t kColumns = 16400;  // all threads have some of them
  for (const double bad : {static_cast<double>(NAN), kInfinity}) {
    for (const int64_t column : {int64_t{0}, int64_t{17}, kColumns - 1}) {
      Array<T> logits = random_array<T>(2 * kColumns, 1.0);
      logits.set(column, bad);
      const Result<T> result = run(logits, {5, 5}, kColumns, kColumns);
      EXPECT_TRUE(std::isnan(result.losses.at(0)) && std::isfinite(result.losses.at(1)));
      for (int64_t i = 0; i < kColumns; ++i) {
        ASSERT_TRUE(std::isnan(result.logits.at(i)) && std::isfinite(result.logits.at(kColumns + i)));
      }
    }
  }
}

TYPED_TEST(CudaCrossEntropy, MinusInfinityIsAProbabilityOfZero) {
  using T = TypeParam;
  constexpr int64_t kColumns = 40;
  Array<T> logits(3 * kColumns);
  logits.fill(-kInfinity);
  logits.set(7, -2.0);             // row 0: the target alone has a chance
  logits.set(kColumns + 7, -2.0);  // row 1: another one has
  const Result<T> result = run(logits, {7, 8, 9}, kColumns, kColumns);
  EXPECT_EQ(result.losses.at(0), 0.0);
  EXPECT_EQ(result.losses.at(1), kInfinity);
  EXPECT_TRUE(std::isnan(result.losses.at(2)));  // nothing has
  for (int64_t i = 0; i < kColumns; ++i) {
    EXPECT_EQ(result.logits.at(i), 0.0);
    EXPECT_EQ(result.logits.at(kColumns + i), i == 7 ? 1.0 : i == 8 ? -1.0 : 0.0);
    EXPECT_TRUE(std::isnan(result.logits.at(2 * kColumns + i)));
  }
}

TYPED_TEST(CudaCrossEntropy, ATargetBeyondTheVocabularyPoisonsItsRowAlone) {
  using T = TypeParam;
  for (const int64_t target : {int64_t{30}, int64_t{31}, int64_t{1} << 40}) {  // padding, and far beyond
    const Result<T> result = run(random_array<T>(2 * 32, 1.0), {target, 29}, 32, 30);
    EXPECT_TRUE(std::isnan(result.losses.at(0)) && std::isfinite(result.losses.at(1)));
    for (int64_t i = 0; i < 32; ++i) {
      EXPECT_EQ(std::isnan(result.logits.at(i)), i < 30);
      EXPECT_TRUE(std::isfinite(result.logits.at(32 + i)));
    }
  }
}

TYPED_TEST(CudaCrossEntropy, NothingIsLaunchedForNoRows) {
  cross_entropy<TypeParam>(nullptr, nullptr, nullptr, 0, 8, 8, true, CrossEntropyRow::kAuto, nullptr);
}

// The shared memory that a launch for the gradient of one row uses.
template <typename T>
int64_t shared_bytes_of(int64_t columns, int64_t vocab, CrossEntropyRow row, bool leave_gradient = true) {
  Array<T> logits = random_array<T>(columns, 1.0);
  const int64_t target = 0;
  Array<float> losses(1);
  cross_entropy<T>(logits.data(), &target, losses.data(), 1, columns, vocab, leave_gradient, row, nullptr);
  return emulation::shared_bytes;
}

TYPED_TEST(CudaCrossEntropy, TakesSharedMemoryWhereTheRowFits) {
  using T = TypeParam;
  using Row = CrossEntropyRow;
  constexpr int64_t kSize = sizeof(T);
  constexpr int64_t kFits = (100 << 10) / kSize;  // 100 KB: two of them on a multiprocessor of Hopper
  EXPECT_EQ(shared_bytes_of<T>(kFits, kFits - 1, Row::kAuto), kFits * kSize - 16);  // whole vectors
  EXPECT_EQ(shared_bytes_of<T>(kFits, kFits, Row::kGlobal), 0);
  EXPECT_EQ(shared_bytes_of<T>(kFits, kFits, Row::kShared, /*leave_gradient=*/false), 0);
  EXPECT_EQ(shared_bytes_of<T>(kFits + 1, kFits, Row::kShared), 0);  // rows that no vectors begin
  EXPECT_EQ(shared_bytes_of<T>(2 * kFits, 2 * kFits, Row::kAuto), 0);
  EXPECT_EQ(shared_bytes_of<T>(2 * kFits, 2 * kFits, Row::kShared), 2 * kFits * kSize);
  EXPECT_EQ(shared_bytes_of<T>(3 * kFits, 3 * kFits, Row::kShared), 0);  // more than a block may have
}

TEST(CrossEntropyRowChoice, FollowsTheMemoryOfTheGpu) {
  constexpr SharedMemory kHopper = {
      .of_block = 227 << 10, .of_multiprocessor = 228 << 10, .reserved_for_block = 1 << 10};
  constexpr SharedMemory kAmpere = {
      .of_block = 163 << 10, .of_multiprocessor = 164 << 10, .reserved_for_block = 1 << 10};
  constexpr SharedMemory kUnknown = {};
  const int64_t bf16 = row_bytes<Bfloat16>(50257);
  const int64_t fp32 = row_bytes<float>(50257);
  EXPECT_EQ(bf16, 2 * 50256);
  EXPECT_TRUE(is_row_shared(CrossEntropyRow::kAuto, bf16, kHopper));
  EXPECT_FALSE(is_row_shared(CrossEntropyRow::kAuto, bf16, kAmpere));
  EXPECT_TRUE(is_row_shared(CrossEntropyRow::kShared, bf16, kAmpere));
  EXPECT_FALSE(is_row_shared(CrossEntropyRow::kAuto, fp32, kHopper));
  EXPECT_TRUE(is_row_shared(CrossEntropyRow::kShared, fp32, kHopper));
  EXPECT_FALSE(is_row_shared(CrossEntropyRow::kShared, row_bytes<Bfloat16>(128256), kHopper));
  for (const CrossEntropyRow row : {CrossEntropyRow::kAuto, CrossEntropyRow::kShared})
    EXPECT_FALSE(is_row_shared(row, 1024, kUnknown));
}

}  // namespace
}  // namespace ssgpt::kernels::cuda
