// The kernels of rotary positions with the row scale, on a CPU.
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

// Heads of whole vectors and not; longer than a warp's vectors; more rows than a block takes. Rotated whole
// and in part: halves that are whole vectors and not, a pair, nothing.
const std::vector<RopeShape> kShapes = {
    {1, 1, 1, 2, 2},      {2, 5, 3, 6, 6},       {1, 70, 1, 2, 2},    {1, 3, 12, 64, 64},
    {2, 3, 2, 32, 32},    {1, 2, 5, 80, 80},     {1, 2, 3, 96, 96},   {2, 9, 4, 128, 128},
    {1, 2, 1, 256, 256},  {1, 2, 1, 512, 512},   {1, 2, 2, 130, 130}, {3, 1, 16, 1024, 1024},
    {1, 1, 1, 2, 0},      {2, 5, 3, 6, 2},       {1, 3, 12, 64, 32},  {2, 3, 2, 32, 8},
    {1, 2, 5, 80, 16},    {2, 9, 4, 128, 0},     {1, 2, 1, 512, 128}, {1, 2, 2, 130, 64},
    {3, 1, 16, 1024, 48}, {1, 2, 1, 1024, 1008},
};

// The cases of a shape: each with a row scale and without, and where heads are rotated in part the rest as it
// is and multiplied.
std::vector<RopeInputs> inputs_of(const RopeShape& shape) {
  std::vector<RopeInputs> all;
  for (const bool is_scaled : {false, true}) {
    all.emplace_back(shape, is_scaled);
    if (shape.rotated < shape.head_dim) all.emplace_back(shape, is_scaled, /*rest_factor=*/1.25);
  }
  return all;
}

template <typename T>
class CudaRope : public testing::Test {
 protected:
  void TearDown() override { emulation::order_of_threads = OrderOfThreads::kRising; }
};
TYPED_TEST_SUITE(CudaRope, DataTypes);

template <typename T>
Array<T> forward(RopeInputs& inputs, const Array<T>& qkv) {
  std::optional<Array<T>> first;
  for (const OrderOfThreads order : kOrders) {
    emulation::order_of_threads = order;
    Array<T> out = qkv;
    rope_forward<T>(inputs.args(out.data()), inputs.shape.batch, nullptr);
    if (!first) first = out;
    EXPECT_TRUE(out == *first);
  }
  return *first;
}

TYPED_TEST(CudaRope, ForwardFollowsTheFormulaAndTheThreadsOrderDoesNotMatter) {
  using T = TypeParam;
  for (const RopeShape& shape : kShapes) {
    for (RopeInputs& inputs : inputs_of(shape)) {
      SCOPED_TRACE(testing::Message() << shape);
      const Array<T> qkv = random_array<T>(3 * shape.size(), 1.0);
      const Array<T> out = forward(inputs, qkv);
      for (int64_t row = 0; row < shape.rows(); ++row) {
        for (int64_t head = 0; head < shape.heads; ++head) {
          const auto [c, c_terms] = inputs.row_scale(row, head);
          const auto before = [&](int64_t part) {
            return head_of(qkv, shape.in_qkv(row, part, head, 0), shape.head_dim);
          };
          const std::array heads = {before(0), before(1)};
          for (int64_t i = 0; i < shape.head_dim; ++i) {
            const auto at = [&](int64_t part) {
              return out.at(shape.in_qkv(row, part, head, i));
            };
            const Turned q = turned(heads[0], i, inputs, row % shape.time, 1.0);
            const Turned k = turned(heads[1], i, inputs, row % shape.time, 1.0);
            // Products, their sum, the factor and the two roundings of c, relative to the terms.
            EXPECT_TRUE(near<T>(at(0), q.value * c, 6, q.terms * c_terms));
            EXPECT_TRUE(near<T>(at(1), k.value, 3, k.terms));
            EXPECT_EQ(at(2), qkv.at(shape.in_qkv(row, 2, head, i)));
          }
        }
      }
    }
  }
}

// The output of rope_backward, the same bits for every order of the threads.
template <typename T>
struct BackwardResult {
  Array<T> qkv;
  Array<float> d_row_scale;
};
template <typename T>
BackwardResult<T> backward(RopeInputs& inputs, const RopeGradients<T>& gradients, const Array<T>& qkv) {
  const RopeShape& shape = inputs.shape;
  std::optional<BackwardResult<T>> first;
  for (const OrderOfThreads order : kOrders) {
    emulation::order_of_threads = order;
    BackwardResult<T> result = {qkv, Array<float>(shape.rows() * shape.heads)};
    rope_backward<T>({.rope = inputs.args(result.qkv.data()),
                      .d_q = gradients.d_q.view,
                      .d_k = gradients.d_k.view,
                      .d_v = gradients.d_v.view,
                      .d_row_scale = inputs.is_scaled ? result.d_row_scale.data() : nullptr},
                     {}, shape.batch, nullptr);
    if (!first) first = result;
    EXPECT_TRUE(result.qkv == first->qkv && result.d_row_scale == first->d_row_scale);
  }
  return *first;
}

template <typename T>
void expect_gradients(const BackwardResult<T>& result, const RopeInputs& inputs,
                      const RopeGradients<T>& gradients, const Array<T>& qkv, int64_t row, int64_t head) {
  const RopeShape& shape = inputs.shape;
  const auto [c, c_terms] = inputs.row_scale(row, head);
  const int64_t t = row % shape.time;
  const std::vector<double> d_q = gradients.d_q.head(shape, row, head);
  const std::vector<double> d_k = gradients.d_k.head(shape, row, head);
  const std::vector<double> d_v = gradients.d_v.head(shape, row, head);
  double dot = 0.0;
  double dot_terms = 0.0;
  for (int64_t i = 0; i < shape.head_dim; ++i) {
    const Turned q = turned(d_q, i, inputs, t, -1.0);
    const Turned k = turned(d_k, i, inputs, t, -1.0);
    const auto at = [&](int64_t part) {
      return result.qkv.at(shape.in_qkv(row, part, head, i));
    };
    EXPECT_TRUE(near<T>(at(0), q.value * c, 6, q.terms * c_terms));  // as in the forward
    EXPECT_TRUE(near<T>(at(1), k.value, 3, k.terms));
    EXPECT_EQ(at(2), d_v[static_cast<size_t>(i)]);
    const double term = d_q[static_cast<size_t>(i)] * qkv.at(shape.in_qkv(row, 0, head, i));
    dot += term;
    dot_terms += std::abs(term);
  }
  if (!inputs.is_scaled) return;
  const double actual = result.d_row_scale.at(row * shape.heads + head);
  if (inputs.num_keys.data()[row] == 1) {
    EXPECT_EQ(actual, 0.0);
    return;
  }
  // A lane adds at most 2 H / 32 products or those of two vectors, the warp 5 sums; the quotient, and c's
  // roundings.
  const double roundings = 16.0 + static_cast<double>(shape.head_dim) / 16 + 5 + 3;
  EXPECT_TRUE(near<float>(actual, dot / c, roundings, dot_terms * c_terms / (c * c)));
}

TYPED_TEST(CudaRope, BackwardFollowsTheFormulaWhateverTheStrides) {
  using T = TypeParam;
  for (const RopeShape& shape : kShapes) {
    for (const bool is_aligned : {false, true}) {
      for (RopeInputs& inputs : inputs_of(shape)) {
        SCOPED_TRACE(testing::Message() << shape);
        const RopeGradients<T> gradients(shape, is_aligned);
        const Array<T> qkv = random_array<T>(3 * shape.size(), 1.0);
        const BackwardResult<T> result = backward(inputs, gradients, qkv);
        for (int64_t row = 0; row < shape.rows(); ++row) {
          for (int64_t head = 0; head < shape.heads; ++head) {
            expect_gradients(result, inputs, gradients, qkv, row, head);
          }
        }
      }
    }
  }
}

TYPED_TEST(CudaRope, NumbersOfKeysWithoutAPositionPoisonTheirQueriesAlone) {
  using T = TypeParam;
  for (const int64_t rotated : {64, 32, 0}) {
    const RopeShape shape = {1, 4, 2, 64, rotated};
    RopeInputs inputs(shape, /*has_row_scale=*/true);
    const std::array<int32_t, 4> num_keys = {0, -7, kRopePositions + 1, kRopePositions};
    std::copy(num_keys.begin(), num_keys.end(), inputs.num_keys.data());
    const Array<T> qkv = random_array<T>(3 * shape.size(), 1.0);
    const Array<T> out = forward(inputs, qkv);
    const BackwardResult<T> result = backward(inputs, RopeGradients<T>(shape, true), qkv);
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
  }
}

TYPED_TEST(CudaRope, ARowScaleOfZeroIsTakenAsItsSmallestSize) {
  using T = TypeParam;
  const RopeShape shape = {1, 3, 2, 32, 32};
  RopeInputs inputs(shape, /*has_row_scale=*/true);
  inputs.scale.fill(0.0);
  inputs.has_bias = false;
  const Array<T> qkv = random_array<T>(3 * shape.size(), 1.0);
  const Array<T> out = forward(inputs, qkv);
  for (int64_t row = 0; row < shape.rows(); ++row) {
    const double c = std::copysign(1e-20, inputs.position.at(inputs.num_keys.data()[row] - 1));
    const std::vector<double> head = head_of(qkv, shape.in_qkv(row, 0, 1, 0), shape.head_dim);
    for (int64_t i = 0; i < shape.head_dim; ++i) {
      const Turned q = turned(head, i, inputs, row, 1.0);
      EXPECT_TRUE(near<T>(out.at(shape.in_qkv(row, 0, 1, i)), q.value * c, 6, q.terms * 1e-20));
    }
  }
}

TYPED_TEST(CudaRope, NothingIsLaunchedForNoRows) {
  RopeArgs<TypeParam> args = {};
  args.rotation.dims = 8;
  args.time = 4;
  args.heads = 2;
  args.head_dim = 8;
  rope_forward<TypeParam>(args, 0, nullptr);
  RopeBackwardArgs<TypeParam> backward_args = {};
  backward_args.rope = args;
  rope_backward<TypeParam>(backward_args, {}, 0, nullptr);
}

}  // namespace
}  // namespace ssgpt::kernels::cuda
