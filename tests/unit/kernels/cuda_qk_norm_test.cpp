// The kernels of the norm of queries and keys, with rotary positions and the row scale behind it, on a CPU.
#include "kernels/cuda/rope.cuh"
#include "kernels/cuda_rope_support.h"
#include "kernels/cuda_support.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <optional>
#include <vector>

#include <gtest/gtest.h>

namespace ssgpt::kernels::cuda {
namespace {

constexpr float kEps = 1e-5f;

// Heads of whole vectors and not, up to the longest; rows of several chunks, and that blocks take in turn;
// rotated whole and in part.
const std::vector<RopeShape> kShapes = {
    {1, 1, 1, 2, 2},     {1, 1, 1, 2, 0},     {2, 5, 3, 6, 2},     {2, 70, 1, 2, 2},    {1, 70, 2, 16, 16},
    {3, 50, 2, 32, 16},  {1, 3, 12, 64, 64},  {1, 3, 12, 64, 32},  {1, 9, 2, 64, 8},    {1, 2, 5, 80, 0},
    {1, 2, 3, 96, 96},   {2, 9, 4, 128, 64},  {1, 2, 1, 256, 256}, {1, 3, 2, 512, 512}, {1, 2, 2, 130, 64},
    {1, 20, 1, 512, 48}, {1, 2, 1, 510, 254},
};

// Roundings of rstd: a lane adds 16 squares, the warp 5 sums; the mean, eps, the root and the quotient.
constexpr double kRstdRoundings = 16 + 5 + 4;

template <typename T>
struct NormInputs : RopeInputs {
  NormInputs(const RopeShape& of, bool has_row_scale)
      : RopeInputs(of, has_row_scale, /*rest_factor=*/1.25),
        q_gain(random_array<T>(of.head_dim, 1.0)),
        k_gain(random_array<T>(of.head_dim, 1.0)),
        raw(random_array<T>(2 * of.size(), 1.0)) {}
  RopeArgs<T> args_of(T* qkv, T* raw_or_null) {
    RopeArgs<T> all = args(qkv);
    all.norm = {.q_gain = q_gain.data(), .k_gain = k_gain.data(), .eps = eps, .raw = raw_or_null};
    return all;
  }
  const Array<T>& gain(int64_t part) const { return part == 0 ? q_gain : k_gain; }
  int64_t in_raw(int64_t row, int64_t part, int64_t head) const {
    return ((row * 2 + part) * shape.heads + head) * shape.head_dim;
  }
  double rstd(const std::vector<double>& head) const {
    double squares = 0.0;
    for (const double x : head) squares += x * x;
    return 1.0 / std::sqrt(squares / static_cast<double>(shape.head_dim) + static_cast<double>(eps));
  }
  float eps = kEps;
  Array<T> q_gain, k_gain, raw;
};

template <typename T>
class CudaQkNorm : public testing::Test {
 protected:
  void TearDown() override { emulation::order_of_threads = OrderOfThreads::kRising; }
};
TYPED_TEST_SUITE(CudaQkNorm, DataTypes);

TYPED_TEST(CudaQkNorm, ForwardFollowsTheFormulaAndTheThreadsOrderDoesNotMatter) {
  using T = TypeParam;
  for (const RopeShape& shape : kShapes) {
    for (const bool is_scaled : {false, true}) {
      SCOPED_TRACE(testing::Message() << shape);
      NormInputs<T> inputs(shape, is_scaled);
      const Array<T> qkv = random_array<T>(3 * shape.size(), 1.0);
      std::optional<Array<T>> first;
      for (const OrderOfThreads order : kOrders) {
        emulation::order_of_threads = order;
        Array<T> out = qkv;
        rope_forward<T>(inputs.args_of(out.data(), inputs.raw.data()), shape.batch, nullptr);
        if (!first) first = out;
        EXPECT_TRUE(out == *first);
      }
      Array<T> without_raw = qkv;
      rope_forward<T>(inputs.args_of(without_raw.data(), nullptr), shape.batch, nullptr);
      EXPECT_TRUE(without_raw == *first);
      for (int64_t row = 0; row < shape.rows(); ++row) {
        for (int64_t part = 0; part < 3; ++part) {
          for (int64_t head = 0; head < shape.heads; ++head) {
            const int64_t begin = shape.in_qkv(row, part, head, 0);
            std::vector<double> x = head_of(qkv, begin, shape.head_dim);
            const std::vector<double> actual = head_of(*first, begin, shape.head_dim);
            if (part == 2) {
              EXPECT_EQ(actual, x);
              continue;
            }
            EXPECT_EQ(head_of(inputs.raw, inputs.in_raw(row, part, head), shape.head_dim), x);
            const double rstd = inputs.rstd(x);
            for (int64_t i = 0; i < shape.head_dim; ++i) {
              x[static_cast<size_t>(i)] *= rstd * inputs.gain(part).at(i);
            }
            const auto [c, c_terms] = part == 0 ? inputs.row_scale(row, head) : RopeInputs::Value();
            for (int64_t i = 0; i < shape.head_dim; ++i) {
              const Turned y = turned(x, i, inputs, row % shape.time, 1.0);
              // rstd and its two products; the rotation's, their sum, the factor and c's two roundings.
              EXPECT_TRUE(near<T>(actual[static_cast<size_t>(i)], y.value * c, kRstdRoundings + 2 + 6,
                                  y.terms * c_terms));
            }
          }
        }
      }
    }
  }
}

template <typename T>
struct NormBackwardResult {
  Array<T> qkv;
  Array<float> d_row_scale, d_q_gain, d_k_gain;
  bool operator==(const NormBackwardResult& other) const {
    return qkv == other.qkv && d_row_scale == other.d_row_scale && d_q_gain == other.d_q_gain &&
           d_k_gain == other.d_k_gain;
  }
};

// The gradients of the gains are added to 1.
template <typename T>
NormBackwardResult<T> norm_backward(NormInputs<T>& inputs, const RopeGradients<T>& gradients) {
  const RopeShape& shape = inputs.shape;
  NormBackwardResult<T> result = {Array<T>(3 * shape.size()), Array<float>(shape.rows() * shape.heads),
                                  Array<float>(shape.head_dim), Array<float>(shape.head_dim)};
  result.qkv.fill(std::nan(""));  // which is not read
  result.d_q_gain.fill(1.0);
  result.d_k_gain.fill(1.0);
  Array<float> scratch(2 * divide_up(shape.rows(), kNormChunkRows) * shape.head_dim);
  scratch.fill(std::nan(""));
  rope_backward<T>({.rope = inputs.args_of(result.qkv.data(), inputs.raw.data()),
                    .d_q = gradients.d_q.view,
                    .d_k = gradients.d_k.view,
                    .d_v = gradients.d_v.view,
                    .d_row_scale = inputs.is_scaled ? result.d_row_scale.data() : nullptr},
                   {result.d_q_gain.data(), result.d_k_gain.data(), scratch.data()}, shape.batch, nullptr);
  return result;
}

TYPED_TEST(CudaQkNorm, BackwardGivesTheSameBitsInEveryOrderOfThreads) {
  using T = TypeParam;
  for (const RopeShape& shape : {RopeShape{1, 66, 2, 32, 16}, RopeShape{1, 3, 1, 130, 64}}) {
    NormInputs<T> inputs(shape, /*has_row_scale=*/true);
    const RopeGradients<T> gradients(shape, /*is_aligned=*/true);
    const NormBackwardResult<T> first = norm_backward(inputs, gradients);
    for (const OrderOfThreads order : {OrderOfThreads::kFalling, OrderOfThreads::kShuffled}) {
      emulation::order_of_threads = order;
      EXPECT_TRUE(norm_backward(inputs, gradients) == first);
    }
  }
}

// The expected gradient of a gain, and the size of its terms.
struct ExpectedGain {
  explicit ExpectedGain(int64_t head_dim)
      : sums(static_cast<size_t>(head_dim), 1.0), terms(static_cast<size_t>(head_dim), 1.0) {}
  std::vector<double> sums, terms;
};

template <typename T>
void expect_norm_gradients(const NormBackwardResult<T>& result, const NormInputs<T>& inputs,
                           const std::vector<double>& d_out, int64_t row, int64_t part, int64_t head,
                           ExpectedGain& d_gain) {
  const RopeShape& shape = inputs.shape;
  const auto [c, c_terms] = part == 0 ? inputs.row_scale(row, head) : RopeInputs::Value();
  const std::vector<double> x = head_of(inputs.raw, inputs.in_raw(row, part, head), shape.head_dim);
  const double rstd = inputs.rstd(x);
  double dot = 0.0;
  double dot_terms = 0.0;
  const auto back = [&](int64_t i) {
    return turned(d_out, i, inputs, row % shape.time, -1.0);
  };
  for (int64_t i = 0; i < shape.head_dim; ++i) {
    const double factor = inputs.gain(part).at(i) * x[static_cast<size_t>(i)];
    dot += back(i).value * factor;
    dot_terms += back(i).terms * std::abs(factor);
  }
  const double along = rstd * rstd * rstd / static_cast<double>(shape.head_dim);
  for (int64_t i = 0; i < shape.head_dim; ++i) {
    const Turned w = back(i);
    const size_t column = static_cast<size_t>(i);
    const double gain = inputs.gain(part).at(i);
    const double expected = c * (w.value * gain * rstd - dot * along * x[column]);
    const double terms =
        c_terms * (w.terms * std::abs(gain) * rstd + dot_terms * along * std::abs(x[column]));
    // rstd thrice, the sum of the products, which has three roundings each; c; and seven products.
    const double roundings = 3 * kRstdRoundings + 16 + 5 + 3 + 3 + 7;
    EXPECT_TRUE(near<T>(result.qkv.at(shape.in_qkv(row, part, head, i)), expected, roundings, terms));
    d_gain.sums[column] += c * w.value * x[column] * rstd;
    d_gain.terms[column] += c_terms * w.terms * std::abs(x[column]) * rstd;
  }
  if (part == 1 || !inputs.is_scaled) return;
  const double actual = result.d_row_scale.at(row * shape.heads + head);
  if (inputs.num_keys.data()[row] == 1) {
    EXPECT_EQ(actual, 0.0);
  } else {
    EXPECT_TRUE(near<float>(actual, dot * rstd, kRstdRoundings + 16 + 5 + 3 + 1, dot_terms * rstd));
  }
}

TYPED_TEST(CudaQkNorm, BackwardFollowsTheFormulaWhateverTheStrides) {
  using T = TypeParam;
  for (const RopeShape& shape : kShapes) {
    for (const bool is_scaled : {false, true}) {
      SCOPED_TRACE(testing::Message() << shape);
      NormInputs<T> inputs(shape, is_scaled);
      const RopeGradients<T> gradients(shape, /*is_aligned=*/is_scaled);
      const NormBackwardResult<T> result = norm_backward(inputs, gradients);
      std::array d_gains = {ExpectedGain(shape.head_dim), ExpectedGain(shape.head_dim)};
      for (int64_t row = 0; row < shape.rows(); ++row) {
        for (int64_t head = 0; head < shape.heads; ++head) {
          const std::array d = {gradients.d_q.head(shape, row, head), gradients.d_k.head(shape, row, head)};
          for (const size_t part : {size_t{0}, size_t{1}}) {
            expect_norm_gradients(result, inputs, d[part], row, static_cast<int64_t>(part), head,
                                  d_gains[part]);
          }
          EXPECT_EQ(head_of(result.qkv, shape.in_qkv(row, 2, head, 0), shape.head_dim),
                    gradients.d_v.head(shape, row, head));
        }
      }
      // Each product; the rows and heads of a thread, of a chunk at most; the warp, the block, the chunks.
      const double roundings = kRstdRoundings + 8 +
                               static_cast<double>(std::min(shape.rows(), kNormChunkRows) * shape.heads) + 5 +
                               8 + 3 + 1;
      for (size_t i = 0; i < static_cast<size_t>(shape.head_dim); ++i) {
        const auto column = static_cast<int64_t>(i);
        EXPECT_TRUE(
            near<float>(result.d_q_gain.at(column), d_gains[0].sums[i], roundings, d_gains[0].terms[i]));
        EXPECT_TRUE(
            near<float>(result.d_k_gain.at(column), d_gains[1].sums[i], roundings, d_gains[1].terms[i]));
      }
    }
  }
}

// Threads that have no row, in the last group of the last chunk, add nothing to the gradients of the gains.
TYPED_TEST(CudaQkNorm, WithoutEpsOnlyRowsThatAreThereCount) {
  using T = TypeParam;
  const RopeShape shape = {1, 67, 1, 64, 64};
  NormInputs<T> inputs(shape, /*has_row_scale=*/true);
  inputs.eps = 0.0f;
  const NormBackwardResult<T> result = norm_backward(inputs, RopeGradients<T>(shape, true));
  for (int64_t i = 0; i < shape.head_dim; ++i) {
    EXPECT_TRUE(std::isfinite(result.d_q_gain.at(i)) && std::isfinite(result.d_k_gain.at(i)));
  }
}

TYPED_TEST(CudaQkNorm, NumbersOfKeysWithoutAPositionPoisonTheirQueriesAlone) {
  using T = TypeParam;
  const RopeShape shape = {1, 4, 2, 64, 32};
  NormInputs<T> inputs(shape, /*has_row_scale=*/true);
  const std::array<int32_t, 4> num_keys = {0, -7, kRopePositions + 1, kRopePositions};
  std::copy(num_keys.begin(), num_keys.end(), inputs.num_keys.data());
  const NormBackwardResult<T> result = norm_backward(inputs, RopeGradients<T>(shape, true));
  Array<T> out = random_array<T>(3 * shape.size(), 1.0);
  rope_forward<T>(inputs.args_of(out.data(), nullptr), shape.batch, nullptr);
  for (int64_t row = 0; row < shape.rows(); ++row) {
    for (int64_t i = 0; i < 3 * shape.heads * shape.head_dim; ++i) {
      const bool is_poisoned = row < 3 && i < shape.heads * shape.head_dim;
      const int64_t at = row * 3 * shape.heads * shape.head_dim + i;
      EXPECT_EQ(std::isnan(out.at(at)), is_poisoned);
      EXPECT_EQ(std::isnan(result.qkv.at(at)), is_poisoned);
    }
    for (int64_t head = 0; head < shape.heads; ++head) {
      EXPECT_EQ(std::isnan(result.d_row_scale.at(row * shape.heads + head)), row < 3);
    }
  }
  for (int64_t i = 0; i < shape.head_dim; ++i) {
    EXPECT_TRUE(std::isnan(result.d_q_gain.at(i)) && std::isfinite(result.d_k_gain.at(i)));
  }
}

// A number that is not finite spoils its own head, and the gradient of its gain.
TYPED_TEST(CudaQkNorm, LetsNanAndInfinityThroughInTheirHeadAlone) {
  using T = TypeParam;
  const RopeShape shape = {1, 3, 2, 32, 16};
  for (const double poison : {std::nan(""), HUGE_VAL}) {
    NormInputs<T> inputs(shape, /*has_row_scale=*/false);
    inputs.raw.set(inputs.in_raw(1, 1, 0) + 5, poison);
    const NormBackwardResult<T> result = norm_backward(inputs, RopeGradients<T>(shape, true));
    for (int64_t row = 0; row < shape.rows(); ++row) {
      for (int64_t part = 0; part < 3; ++part) {
        for (int64_t head = 0; head < shape.heads; ++head) {
          for (int64_t i = 0; i < shape.head_dim; ++i) {
            EXPECT_EQ(std::isfinite(result.qkv.at(shape.in_qkv(row, part, head, i))),
                      row != 1 || part != 1 || head != 0);
          }
        }
      }
    }
    EXPECT_FALSE(std::isfinite(result.d_k_gain.at(5)));
    for (int64_t i = 0; i < shape.head_dim; ++i) EXPECT_TRUE(std::isfinite(result.d_q_gain.at(i)));
  }
}

TYPED_TEST(CudaQkNorm, NothingIsAddedForNoRows) {
  const RopeShape shape = {0, 4, 2, 8, 8};
  NormInputs<TypeParam> inputs(shape, /*has_row_scale=*/false);
  rope_forward<TypeParam>(inputs.args_of(nullptr, nullptr), 0, nullptr);
  const NormBackwardResult<TypeParam> result = norm_backward(inputs, RopeGradients<TypeParam>(shape, true));
  for (int64_t i = 0; i < shape.head_dim; ++i) {
    EXPECT_EQ(result.d_q_gain.at(i), 1.0);
    EXPECT_EQ(result.d_k_gain.at(i), 1.0);
  }
}

}  // namespace
}  // namespace ssgpt::kernels::cuda
