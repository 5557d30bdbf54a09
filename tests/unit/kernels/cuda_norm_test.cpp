// The kernels of RMSNorm, on a CPU.
#include "kernels/cuda/norm.cuh"
#include "kernels/cuda_support.h"

#include <cmath>
#include <limits>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

namespace ssgpt::kernels::cuda {
namespace {

constexpr float kEps = 1e-5f;

// One row and many, one column, widths beside vectors, rows of 1, 2, 4, 8 and 16 warps, chunks of rows that
// are not full, the widest rows.
const std::vector<Size> kSizes = {{1, 1},    {3, 7},           {9, 8},    {130, 40},  {65, 33},
                                  {67, 768}, {5, 770},         {3, 2056}, {17, 1028}, {2, 4095},
                                  {3, 4096}, {2, kWidestNorm}, {66, 264}};

// A sum of n products, of which a lane adds some, a warp 5 and a block 16 at most: roundings of the longest
// way of a product into the sum, of which each is at most that of the whole.
double sum_roundings(int64_t width) {
  return static_cast<double>(std::min<int64_t>(width, 32)) + 5 + 16 + 1;
}

template <typename T>
struct Inputs {
  explicit Inputs(const Size& of)
      : size(of),
        x(random_array<T>(size.rows * size.width, 3.0)),
        branch(random_array<T>(size.rows * size.width, 2.0)),
        weight(random_array<T>(size.width, 1.0)),
        d_out(random_array<T>(size.rows * size.width, 1.0)),
        d_x(random_array<T>(size.rows * size.width, 1.0)),
        rstd(size.rows),
        d_weight(random_array<float>(size.width, 1.0)) {
    for (int64_t row = 0; row < size.rows; ++row) rstd.set(row, plain_rstd(x, row));
  }

  double plain_rstd(const Array<T>& of, int64_t row) const {
    double squares = 0.0;
    for (int64_t i = 0; i < size.width; ++i) squares += std::pow(of.at(row * size.width + i), 2);
    return 1.0 / std::sqrt(squares / static_cast<double>(size.width) + static_cast<double>(kEps));
  }

  Size size;
  Array<T> x, branch, weight, d_out, d_x;
  Array<float> rstd, d_weight;
};

// out and rstd are those of `x`.
template <typename T>
void expect_norm(const Inputs<T>& inputs, const Array<T>& x, const Array<T>& out, const Array<float>& rstd) {
  const auto [rows, width] = inputs.size;
  for (int64_t row = 0; row < rows; ++row) {
    const double r = inputs.plain_rstd(x, row);
    // The sum's roundings are halved by the root; quotient, sum with eps, root and quotient have one each.
    const double roundings = sum_roundings(width) / 2 + 4;
    ASSERT_TRUE(near<float>(rstd.at(row), r, roundings)) << rows << " " << width;
    for (int64_t i = 0; i < width; ++i) {
      const double expected = x.at(row * width + i) * r * inputs.weight.at(i);
      ASSERT_TRUE(near<T>(out.at(row * width + i), expected, roundings + 3)) << rows << " " << width;
    }
  }
}

template <typename T>
class CudaNorm : public testing::Test {
 protected:
  void TearDown() override { emulation::order_of_threads = emulation::OrderOfThreads::kRising; }
};
TYPED_TEST_SUITE(CudaNorm, DataTypes);

TYPED_TEST(CudaNorm, ForwardFollowsTheFormula) {
  using T = TypeParam;
  for (const Size& size : kSizes) {
    const Inputs<T> inputs(size);
    Array<T> out(size.rows * size.width);
    Array<float> rstd(size.rows);
    rms_norm_forward<T>(inputs.x.data(), inputs.weight.data(), kEps, out.data(), rstd.data(), size.rows,
                        size.width, nullptr);
    expect_norm(inputs, inputs.x, out, rstd);
  }
}

// The norm is that of the sum as it is stored: rounded.
TYPED_TEST(CudaNorm, AddForwardNormalizesTheRoundedSum) {
  using T = TypeParam;
  for (const Size& size : kSizes) {
    const Inputs<T> inputs(size);
    const int64_t count = size.rows * size.width;
    Array<T> expected_sum(count);
    for (int64_t i = 0; i < count; ++i) {
      from_float(to_float(inputs.x.data()[i]) + to_float(inputs.branch.data()[i]), expected_sum.data()[i]);
    }
    Array<T> sum(count);
    Array<T> out(count);
    Array<float> rstd(size.rows);
    add_rms_norm_forward<T>(inputs.x.data(), inputs.branch.data(), inputs.weight.data(), kEps, sum.data(),
                            out.data(), rstd.data(), size.rows, size.width, nullptr);
    EXPECT_TRUE(sum == expected_sum);
    expect_norm(inputs, sum, out, rstd);

    Array<T> in_place = inputs.x;
    Array<T> out_in_place(count);
    add_rms_norm_forward<T>(in_place.data(), inputs.branch.data(), inputs.weight.data(), kEps,
                            in_place.data(), out_in_place.data(), rstd.data(), size.rows, size.width,
                            nullptr);
    EXPECT_TRUE(in_place == sum);
    EXPECT_TRUE(out_in_place == out);
  }
}

template <typename T>
std::pair<Array<T>, Array<float>> backward(const Inputs<T>& inputs, bool accumulate = true) {
  const auto [rows, width] = inputs.size;
  Array<T> d_x = inputs.d_x;
  if (!accumulate) d_x.fill(std::nan(""));
  Array<float> d_weight = inputs.d_weight;
  const int64_t chunks = divide_up(rows, kNormChunkRows);
  Array<float> sums(chunks * width);
  sums.fill(std::nan(""));
  rms_norm_backward<T>(inputs.d_out.data(), inputs.x.data(), inputs.weight.data(), inputs.rstd.data(),
                       accumulate, d_x.data(), sums.data(), rows, width, nullptr);
  const RowSumsView of_weight = {.of_chunks = sums.data(), .total = d_weight.data()};
  add_row_sums(&of_weight, 1, chunks, width, nullptr);
  return {std::move(d_x), std::move(d_weight)};
}

TYPED_TEST(CudaNorm, BackwardOverwritesAsIfItAddedToZero) {
  using T = TypeParam;
  for (const Size& size : {Size{3, 7}, Size{67, 768}, Size{3, 2056}, Size{5, 770}}) {
    Inputs<T> inputs(size);
    inputs.d_x.fill(0.0);
    EXPECT_TRUE(backward(inputs, /*accumulate=*/false) == backward(inputs));
  }
}

TYPED_TEST(CudaNorm, BackwardFollowsTheFormula) {
  using T = TypeParam;
  for (const Size& size : kSizes) {
    const auto [rows, width] = size;
    const Inputs<T> inputs(size);
    const auto [d_x, d_weight] = backward(inputs);
    std::vector<double> expected_d_weight(static_cast<size_t>(width));
    std::vector<double> terms(static_cast<size_t>(width));
    for (int64_t row = 0; row < rows; ++row) {
      const double r = inputs.rstd.at(row);
      double dot = 0.0;
      double dot_terms = 0.0;
      for (int64_t i = row * width; i < (row + 1) * width; ++i) {
        const double term = inputs.d_out.at(i) * inputs.weight.at(i - row * width) * inputs.x.at(i);
        dot += term;
        dot_terms += std::abs(term);
      }
      const double along = r * r * r / static_cast<double>(width);
      for (int64_t i = row * width; i < (row + 1) * width; ++i) {
        const size_t column = static_cast<size_t>(i - row * width);
        const double direct = inputs.d_out.at(i) * r * inputs.weight.at(i - row * width);
        const double x = inputs.x.at(i);
        // The dot product and the four products that scale it; three of the sum.
        ASSERT_TRUE(near<T>(d_x.at(i), inputs.d_x.at(i) + direct - dot * along * x, sum_roundings(width) + 10,
                            std::abs(inputs.d_x.at(i)) + std::abs(direct) + dot_terms * along * std::abs(x)))
            << rows << " " << width << ": " << i;
        expected_d_weight[column] += inputs.d_out.at(i) * x * r;
        terms[column] += std::abs(inputs.d_out.at(i) * x * r);
      }
    }
    for (int64_t i = 0; i < width; ++i) {
      const size_t column = static_cast<size_t>(i);
      // Products, the rows of a group, groups, chunks, and the sum with what was there.
      const double roundings = 3 + kNormChunkRows + 8 + 3 + 1;
      ASSERT_TRUE(near<float>(d_weight.at(i), inputs.d_weight.at(i) + expected_d_weight[column], roundings,
                              std::abs(inputs.d_weight.at(i)) + terms[column]))
          << rows << " " << width << ": " << i;
    }
  }
}

// More chunks than the warps that add them; one sum and more than a launch takes.
TEST(CudaRowSums, AddsTheChunksOfEach) {
  constexpr int64_t kChunks = 75;
  constexpr int64_t kWidth = 40;
  for (const int64_t count : {1, 2, 5}) {
    const Array<float> chunks = random_array<float>(count * kChunks * kWidth, 1.0);
    Array<float> totals = random_array<float>(count * kWidth, 1.0);
    const Array<float> before = totals;
    std::vector<RowSumsView> views;
    for (int64_t i = 0; i < count; ++i) {
      views.push_back(
          {.of_chunks = chunks.data() + i * kChunks * kWidth, .total = totals.data() + i * kWidth});
    }
    const int launches = emulation::launches;
    add_row_sums(views.data(), count, kChunks, kWidth, nullptr);
    EXPECT_EQ(emulation::launches - launches, divide_up(count, RowSumsList::kMost));
    for (int64_t i = 0; i < count * kWidth; ++i) {
      double sum = before.at(i);
      double terms = std::abs(sum);
      for (int64_t chunk = 0; chunk < kChunks; ++chunk) {
        const double value = chunks.at((i / kWidth * kChunks + chunk) * kWidth + i % kWidth);
        sum += value;
        terms += std::abs(value);
      }
      EXPECT_TRUE(near<float>(totals.at(i), sum, 3 + 32, terms));
    }
  }
}

TYPED_TEST(CudaNorm, GivesTheSameBitsInEveryOrderOfThreads) {
  using T = TypeParam;
  for (const Size& size : {Size{70, 768}, Size{3, 2056}, Size{66, 70}, Size{2, 2049}}) {
    const Inputs<T> inputs(size);
    const auto run = [&](emulation::OrderOfThreads order) {
      emulation::order_of_threads = order;
      Array<T> sum = inputs.x;
      Array<T> out(size.rows * size.width);
      Array<float> rstd(size.rows);
      add_rms_norm_forward<T>(sum.data(), inputs.branch.data(), inputs.weight.data(), kEps, sum.data(),
                              out.data(), rstd.data(), size.rows, size.width, nullptr);
      auto [d_x, d_weight] = backward(inputs);
      return std::tuple(std::move(sum), std::move(out), std::move(rstd), std::move(d_x), std::move(d_weight));
    };
    const auto rising = run(emulation::OrderOfThreads::kRising);
    EXPECT_TRUE(run(emulation::OrderOfThreads::kFalling) == rising);
    EXPECT_TRUE(run(emulation::OrderOfThreads::kShuffled) == rising);
  }
}

// A number that is not finite spoils its row, and its column of d_weight, but nothing else.
TYPED_TEST(CudaNorm, LetsNanAndInfinityThroughInTheirRowAlone) {
  using T = TypeParam;
  for (const double poison :
       {std::numeric_limits<double>::quiet_NaN(), std::numeric_limits<double>::infinity()}) {
    const Size size = {20, 768};
    Inputs<T> inputs(size);
    const auto [clean_d_x, clean_d_weight] = backward(inputs);
    inputs.x.set(7 * size.width + 5, poison);
    Array<T> out(size.rows * size.width);
    Array<float> rstd(size.rows);
    rms_norm_forward<T>(inputs.x.data(), inputs.weight.data(), kEps, out.data(), rstd.data(), size.rows,
                        size.width, nullptr);
    const auto [d_x, d_weight] = backward(inputs);
    for (int64_t row = 0; row < size.rows; ++row) {
      EXPECT_EQ(std::isnan(out.at(row * size.width + 5)), row == 7);
      // 1 / sqrt(infinity) is 0: the other elements of the row are too.
      EXPECT_EQ(row == 7 && !std::isinf(poison), std::isnan(out.at(row * size.width + 6)));
      for (int64_t i = 0; i < size.width; ++i) {
        const int64_t at = row * size.width + i;
        if (row == 7) {
          ASSERT_FALSE(std::isfinite(d_x.at(at)));
        } else {
          ASSERT_EQ(d_x.at(at), clean_d_x.at(at));
        }
      }
    }
    for (int64_t i = 0; i < size.width; ++i) {
      if (i == 5) {
        EXPECT_FALSE(std::isfinite(d_weight.at(i)));
      } else {
        EXPECT_EQ(d_weight.at(i), clean_d_weight.at(i));
      }
    }
  }
}

TYPED_TEST(CudaNorm, LeavesAllAsItIsWithoutRows) {
  using T = TypeParam;
  Array<float> d_weight = random_array<float>(8, 1.0);
  const Array<float> before = d_weight;
  rms_norm_forward<T>(nullptr, nullptr, kEps, nullptr, nullptr, 0, 8, nullptr);
  add_rms_norm_forward<T>(nullptr, nullptr, nullptr, kEps, nullptr, nullptr, nullptr, 0, 8, nullptr);
  rms_norm_backward<T>(nullptr, nullptr, nullptr, nullptr, true, nullptr, nullptr, 0, 8, nullptr);
  const RowSumsView of_weight = {.of_chunks = nullptr, .total = d_weight.data()};
  add_row_sums(&of_weight, 1, 0, 8, nullptr);
  EXPECT_TRUE(d_weight == before);
}

}  // namespace
}  // namespace ssgpt::kernels::cuda
