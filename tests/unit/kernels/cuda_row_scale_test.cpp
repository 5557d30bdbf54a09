// The kernels of the row scale's gradients, on a CPU.
#include "kernels/cuda/row_scale_backward.cuh"
#include "kernels/cuda_support.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <vector>

#include <gtest/gtest.h>

namespace ssgpt::kernels::cuda {
namespace {

using emulation::OrderOfThreads;

struct RowScaleCase {
  int64_t rows, heads, positions;
};

struct RowScaleGradients {
  explicit RowScaleGradients(const RowScaleCase& c)
      : d_scale(c.heads), d_bias(c.heads), d_position(c.positions) {
    d_scale.fill(0.5);
    d_bias.fill(-0.5);
    d_position.fill(0.25);
  }
  Array<float> d_scale, d_bias, d_position;
};

RowScaleGradients row_scale_gradients(const RowScaleCase& c, const Array<float>& d_row_scale,
                                      const Array<int32_t>& num_keys, RowScaleView view) {
  RowScaleGradients gradients(c);
  Array<float> scratch(kRowScaleParts * (2 * c.heads + c.positions));
  scratch.fill(NAN);  // what was there does not matter
  row_scale_backward(d_row_scale.data(), num_keys.data(), view, gradients.d_scale.data(),
                     gradients.d_bias.data(), gradients.d_position.data(), scratch.data(), c.rows, c.heads,
                     nullptr);
  return gradients;
}

class CudaRowScale : public testing::Test {
 protected:
  void TearDown() override { emulation::order_of_threads = OrderOfThreads::kRising; }
};

TEST_F(CudaRowScale, BackwardAddsTheSumsInAnOrderOfItsOwn) {
  // One row; fewer rows than parts; heads of several blocks; parts of more rows than a block has threads.
  for (const RowScaleCase& c :
       {RowScaleCase{1, 1, 1}, {7, 3, 5}, {40, 12, 64}, {9, 35, 700}, {33500, 2, 40}}) {
    SCOPED_TRACE(testing::Message() << c.rows << " rows, " << c.positions << " positions");
    const Array<float> d_row_scale = random_array<float>(c.rows * c.heads, 1.0);
    const Array<float> position = random_array<float>(c.positions, 1.0);
    const Array<float> scale = random_array<float>(c.heads, 1.0);
    Array<int32_t> num_keys(c.rows);
    for (int64_t row = 0; row < c.rows; ++row) {
      num_keys.data()[row] = static_cast<int32_t>(row * row % 101 % c.positions + 1);
    }
    const RowScaleView view = {position.data(), scale.data(), nullptr, c.positions};
    const RowScaleGradients actual = row_scale_gradients(c, d_row_scale, num_keys, view);
    for (const OrderOfThreads order : {OrderOfThreads::kFalling, OrderOfThreads::kShuffled}) {
      emulation::order_of_threads = order;
      const RowScaleGradients again = row_scale_gradients(c, d_row_scale, num_keys, view);
      EXPECT_TRUE(again.d_scale == actual.d_scale && again.d_bias == actual.d_bias &&
                  again.d_position == actual.d_position);
    }
    emulation::order_of_threads = OrderOfThreads::kRising;

    std::vector<double> d_position(static_cast<size_t>(c.positions), 0.25);
    std::vector<double> terms(static_cast<size_t>(c.positions), 0.25);
    std::vector<double> count(static_cast<size_t>(c.positions), 0.0);
    for (int64_t head = 0; head < c.heads; ++head) {
      double d_scale = 0.5;
      double scale_terms = 0.5;
      double d_bias = -0.5;
      double bias_terms = 0.5;
      for (int64_t row = 0; row < c.rows; ++row) {
        const double d = d_row_scale.at(row * c.heads + head);
        const auto at = static_cast<size_t>(num_keys.data()[row] - 1);
        d_scale += d * position.at(num_keys.data()[row] - 1);
        scale_terms += std::abs(d * position.at(num_keys.data()[row] - 1));
        d_bias += d;
        bias_terms += std::abs(d);
        d_position[at] += d * scale.at(head);
        terms[at] += std::abs(d * scale.at(head));
        count[at] += 1.0;
      }
      // Sums in fp64; the parts' and the last one are rounded, and their sum.
      EXPECT_TRUE(near<float>(actual.d_scale.at(head), d_scale, 3, scale_terms));
      EXPECT_TRUE(near<float>(actual.d_bias.at(head), d_bias, 3, bias_terms));
    }
    for (int64_t i = 0; i < c.positions; ++i) {
      const auto at = static_cast<size_t>(i);
      // A product and a sum for each head, a sum for each row and each part, and the last two.
      const double roundings = count[at] + 65.0;
      EXPECT_TRUE(near<float>(actual.d_position.at(i), d_position[at], roundings, terms[at]));
    }
  }
}

TEST_F(CudaRowScale, ANumberOfKeysWithoutAPositionPoisonsTheGradients) {
  const RowScaleCase c = {3, 2, 4};
  for (const int32_t bad : {0, -1, 5}) {
    const Array<float> d_row_scale = random_array<float>(c.rows * c.heads, 1.0);
    const Array<float> position = random_array<float>(c.positions, 1.0);
    Array<int32_t> num_keys(c.rows);
    const std::array<int32_t, 3> n = {2, bad, 4};
    std::copy(n.begin(), n.end(), num_keys.data());
    const RowScaleGradients actual =
        row_scale_gradients(c, d_row_scale, num_keys, {position.data(), nullptr, nullptr, c.positions});
    EXPECT_TRUE(std::isnan(actual.d_scale.at(0)) && std::isnan(actual.d_position.at(0)));
    EXPECT_TRUE(std::isfinite(actual.d_bias.at(0)) && std::isfinite(actual.d_position.at(1)));
  }
}

TEST_F(CudaRowScale, OutputsThatAreNotAskedForAreLeftOut) {
  const RowScaleCase c = {9, 2, 3};
  const Array<float> d_row_scale = random_array<float>(c.rows * c.heads, 1.0);
  const Array<float> position = random_array<float>(c.positions, 1.0);
  Array<int32_t> num_keys(c.rows);
  std::fill_n(num_keys.data(), c.rows, 2);
  const RowScaleView view = {position.data(), nullptr, nullptr, c.positions};
  const RowScaleGradients all = row_scale_gradients(c, d_row_scale, num_keys, view);
  Array<float> scratch(kRowScaleParts * (2 * c.heads + c.positions));
  RowScaleGradients one(c);
  row_scale_backward(d_row_scale.data(), num_keys.data(), view, one.d_scale.data(), nullptr, nullptr,
                     scratch.data(), c.rows, c.heads, nullptr);
  row_scale_backward(d_row_scale.data(), num_keys.data(), view, nullptr, nullptr, one.d_position.data(),
                     scratch.data(), c.rows, c.heads, nullptr);
  EXPECT_TRUE(one.d_scale == all.d_scale && one.d_position == all.d_position);
  EXPECT_TRUE(one.d_bias == RowScaleGradients(c).d_bias);
}

TEST_F(CudaRowScale, NothingIsLaunchedForNoRows) {
  row_scale_backward(nullptr, nullptr, {}, nullptr, nullptr, nullptr, nullptr, 0, 2, nullptr);
}

}  // namespace
}  // namespace ssgpt::kernels::cuda
