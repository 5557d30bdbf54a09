// The kernels of rotary positions with the row scale, on a CPU.
#include "kernels/cuda/rope.cuh"
#include "kernels/cuda_support.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <optional>
#include <vector>

#include <gtest/gtest.h>

namespace ssgpt::kernels::cuda {
namespace {

using emulation::OrderOfThreads;
constexpr std::array kOrders = {OrderOfThreads::kRising, OrderOfThreads::kFalling, OrderOfThreads::kShuffled};

struct Shape {
  int64_t batch, time, heads, head_dim;
  int64_t rows() const { return batch * time; }
  int64_t half() const { return head_dim / 2; }
  int64_t size() const { return rows() * heads * head_dim; }
  // Of part 0 (q), 1 (k) or 2 (v) in (B, T, 3, N, H).
  int64_t in_qkv(int64_t row, int64_t part, int64_t head, int64_t i) const {
    return ((row * 3 + part) * heads + head) * head_dim + i;
  }
};
// Heads of whole vectors and not; longer than a warp's vectors; more rows than a block takes.
const std::vector<Shape> kShapes = {{1, 1, 1, 2},   {2, 5, 3, 6},   {1, 70, 1, 2},  {1, 3, 12, 64},
                                    {2, 3, 2, 32},  {1, 2, 5, 80},  {1, 2, 3, 96},  {2, 9, 4, 128},
                                    {1, 2, 1, 256}, {1, 2, 1, 512}, {1, 2, 2, 130}, {3, 1, 16, 1024}};

constexpr int64_t kPositions = 9;

// What an operation is given beside qkv. Without learned positions there is no row scale.
struct Inputs {
  Inputs(const Shape& shape, bool is_scaled)
      : cos(random_array<float>(shape.time * shape.half(), 1.0)),
        sin(random_array<float>(shape.time * shape.half(), 1.0)),
        position(random_array<float>(kPositions, 1.0)),
        scale(random_array<float>(shape.heads, 1.0)),
        bias(random_array<float>(shape.heads, 1.0)),
        num_keys(shape.rows()) {
    for (int64_t row = 0; row < shape.rows(); ++row) {
      num_keys.data()[row] = static_cast<int32_t>(row * 5 % kPositions + 1);
    }
    if (is_scaled) view = {position.data(), scale.data(), bias.data(), kPositions};
  }
  struct Value {
    double c = 1.0;
    double terms = 1.0;  // the size of what c is a sum of
  };
  Value row_scale(int64_t row, int64_t head) const {
    if (view.position == nullptr) return {};
    const double product = position.at(num_keys.data()[row] - 1) * scale.at(head);
    return {product + bias.at(head), std::abs(product) + std::abs(bias.at(head))};
  }

  Array<float> cos, sin, position, scale, bias;
  Array<int32_t> num_keys;
  RowScaleView view = {};
};

// Component i of a head of x turned by sign times the angles: its value, and the size of its terms.
struct Turned {
  double value, terms;
};
template <typename T>
Turned turned(const Array<T>& x, int64_t head_begin, int64_t i, const Inputs& inputs, const Shape& shape,
              int64_t t, double sign) {
  const int64_t half = shape.half();
  const double cos = inputs.cos.at(t * half + i % half);
  const double sin = sign * inputs.sin.at(t * half + i % half);
  const double same = x.at(head_begin + i) * cos;
  const double other = i < half ? -x.at(head_begin + i + half) * sin : x.at(head_begin + i - half) * sin;
  return {same + other, std::abs(same) + std::abs(other)};
}

template <typename T>
class CudaRope : public testing::Test {
 protected:
  void TearDown() override { emulation::order_of_threads = OrderOfThreads::kRising; }
};
TYPED_TEST_SUITE(CudaRope, DataTypes);

TYPED_TEST(CudaRope, ForwardFollowsTheFormulaAndTheThreadsOrderDoesNotMatter) {
  using T = TypeParam;
  for (const Shape& shape : kShapes) {
    for (const bool is_scaled : {false, true}) {
      SCOPED_TRACE(testing::Message() << shape.heads << " heads of " << shape.head_dim);
      Inputs inputs(shape, is_scaled);
      const Array<T> qkv = random_array<T>(3 * shape.size(), 1.0);
      std::optional<Array<T>> first;
      for (const OrderOfThreads order : kOrders) {
        emulation::order_of_threads = order;
        Array<T> out = qkv;
        rope_forward<T>(out.data(), inputs.cos.data(), inputs.sin.data(),
                        is_scaled ? inputs.num_keys.data() : nullptr, inputs.view, shape.batch, shape.time,
                        shape.heads, shape.head_dim, nullptr);
        if (!first) first = out;
        EXPECT_TRUE(out == *first);
      }
      for (int64_t row = 0; row < shape.rows(); ++row) {
        for (int64_t head = 0; head < shape.heads; ++head) {
          const auto [c, c_terms] = inputs.row_scale(row, head);
          for (int64_t i = 0; i < shape.head_dim; ++i) {
            const auto at = [&](int64_t part) {
              return first->at(shape.in_qkv(row, part, head, i));
            };
            const auto expected = [&](int64_t part) {
              return turned(qkv, shape.in_qkv(row, part, head, 0), i, inputs, shape, row % shape.time, 1.0);
            };
            // Products, their sum, the factor and the two roundings of c, relative to the terms.
            EXPECT_TRUE(near<T>(at(0), expected(0).value * c, 6, expected(0).terms * c_terms));
            EXPECT_TRUE(near<T>(at(1), expected(1).value, 3, expected(1).terms));
            EXPECT_EQ(at(2), qkv.at(shape.in_qkv(row, 2, head, i)));
          }
        }
      }
    }
  }
}

// A gradient (B, N, T, H) in some layout.
template <typename T>
struct Gradient {
  enum class Layout { kHeadsFirst, kTimeFirst, kUnaligned };
  Gradient(const Shape& shape, Layout layout)
      : view{.data = nullptr,
             .batch = shape.heads * shape.time * shape.head_dim,
             .head = layout == Layout::kTimeFirst ? shape.head_dim : shape.time * shape.head_dim,
             .time = layout == Layout::kTimeFirst ? shape.heads * shape.head_dim : shape.head_dim},
        offset(layout == Layout::kUnaligned ? 1 : 0),
        storage(random_array<T>(offset + shape.size(), 1.0)) {
    view.data = storage.data() + offset;
  }
  int64_t head_begin(const Shape& shape, int64_t row, int64_t head) const {
    return offset + row / shape.time * view.batch + head * view.head + row % shape.time * view.time;
  }
  HeadsView<T> view;
  int64_t offset;
  Array<T> storage;
};

template <typename T>
struct Gradients {
  using Layout = typename Gradient<T>::Layout;
  Gradients(const Shape& shape, bool is_aligned)
      : d_q(shape, Layout::kTimeFirst),
        d_k(shape, Layout::kHeadsFirst),
        d_v(shape, is_aligned ? Layout::kTimeFirst : Layout::kUnaligned) {}
  Gradient<T> d_q, d_k, d_v;
};

// What rope_backward leaves, the same bits for every order of the threads.
template <typename T>
struct BackwardResult {
  Array<T> qkv;
  Array<float> d_row_scale;
};
template <typename T>
BackwardResult<T> backward(const Shape& shape, Inputs& inputs, const Gradients<T>& gradients,
                           const Array<T>& qkv) {
  std::optional<BackwardResult<T>> first;
  const bool is_scaled = inputs.view.position != nullptr;
  for (const OrderOfThreads order : kOrders) {
    emulation::order_of_threads = order;
    BackwardResult<T> result = {qkv, Array<float>(shape.rows() * shape.heads)};
    rope_backward<T>({.d_q = gradients.d_q.view,
                      .d_k = gradients.d_k.view,
                      .d_v = gradients.d_v.view,
                      .cos = inputs.cos.data(),
                      .sin = inputs.sin.data(),
                      .num_keys = is_scaled ? inputs.num_keys.data() : nullptr,
                      .row_scale = inputs.view,
                      .qkv = result.qkv.data(),
                      .d_row_scale = is_scaled ? result.d_row_scale.data() : nullptr,
                      .time = shape.time,
                      .heads = shape.heads,
                      .head_dim = shape.head_dim},
                     shape.batch, nullptr);
    if (!first) first = result;
    EXPECT_TRUE(result.qkv == first->qkv && result.d_row_scale == first->d_row_scale);
  }
  return *first;
}

template <typename T>
void expect_gradients(const BackwardResult<T>& result, const Shape& shape, const Inputs& inputs,
                      const Gradients<T>& gradients, int64_t row, int64_t head) {
  const auto [c, c_terms] = inputs.row_scale(row, head);
  const int64_t t = row % shape.time;
  const int64_t q = gradients.d_q.head_begin(shape, row, head);
  const int64_t k = gradients.d_k.head_begin(shape, row, head);
  const int64_t v = gradients.d_v.head_begin(shape, row, head);
  for (int64_t i = 0; i < shape.head_dim; ++i) {
    const Turned d_q = turned(gradients.d_q.storage, q, i, inputs, shape, t, -1.0);
    const Turned d_k = turned(gradients.d_k.storage, k, i, inputs, shape, t, -1.0);
    const auto at = [&](int64_t part) {
      return result.qkv.at(shape.in_qkv(row, part, head, i));
    };
    EXPECT_TRUE(near<T>(at(0), d_q.value * c, 6, d_q.terms * c_terms));  // as in the forward
    EXPECT_TRUE(near<T>(at(1), d_k.value, 3, d_k.terms));
    EXPECT_EQ(at(2), gradients.d_v.storage.at(v + i));
  }
}

TYPED_TEST(CudaRope, BackwardFollowsTheFormulaWhateverTheStrides) {
  using T = TypeParam;
  for (const Shape& shape : kShapes) {
    for (const bool is_aligned : {false, true}) {
      for (const bool is_scaled : {false, true}) {
        SCOPED_TRACE(testing::Message() << shape.heads << " heads of " << shape.head_dim);
        Inputs inputs(shape, is_scaled);
        const Gradients<T> gradients(shape, is_aligned);
        const Array<T> qkv = random_array<T>(3 * shape.size(), 1.0);
        const BackwardResult<T> result = backward(shape, inputs, gradients, qkv);
        for (int64_t row = 0; row < shape.rows(); ++row) {
          for (int64_t head = 0; head < shape.heads; ++head) {
            expect_gradients(result, shape, inputs, gradients, row, head);
            if (!is_scaled) continue;
            const double actual = result.d_row_scale.at(row * shape.heads + head);
            if (inputs.num_keys.data()[row] == 1) {
              EXPECT_EQ(actual, 0.0);
              continue;
            }
            double dot = 0.0;
            double terms = 0.0;
            for (int64_t i = 0; i < shape.head_dim; ++i) {
              const double term = gradients.d_q.storage.at(gradients.d_q.head_begin(shape, row, head) + i) *
                                  qkv.at(shape.in_qkv(row, 0, head, i));
              dot += term;
              terms += std::abs(term);
            }
            const auto [c, c_terms] = inputs.row_scale(row, head);
            // A lane adds at most 2 H / 32 products or those of two vectors, the warp 5 sums; the quotient,
            // and c's roundings.
            const double roundings = 16.0 + static_cast<double>(shape.head_dim) / 16 + 5 + 3;
            EXPECT_TRUE(near<float>(actual, dot / c, roundings, terms * c_terms / (c * c)));
          }
        }
      }
    }
  }
}

TYPED_TEST(CudaRope, NumbersOfKeysWithoutAPositionPoisonTheirQueriesAlone) {
  using T = TypeParam;
  const Shape shape = {1, 4, 2, 64};
  Inputs inputs(shape, /*is_scaled=*/true);
  const std::array<int32_t, 4> num_keys = {0, -7, kPositions + 1, kPositions};
  std::copy(num_keys.begin(), num_keys.end(), inputs.num_keys.data());
  const Array<T> qkv = random_array<T>(3 * shape.size(), 1.0);
  Array<T> out = qkv;
  rope_forward<T>(out.data(), inputs.cos.data(), inputs.sin.data(), inputs.num_keys.data(), inputs.view,
                  shape.batch, shape.time, shape.heads, shape.head_dim, nullptr);
  const BackwardResult<T> result = backward(shape, inputs, Gradients<T>(shape, true), qkv);
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

TYPED_TEST(CudaRope, ARowScaleOfZeroIsTakenAsItsSmallestSize) {
  using T = TypeParam;
  const Shape shape = {1, 3, 2, 32};
  Inputs inputs(shape, /*is_scaled=*/true);
  inputs.scale.fill(0.0);
  inputs.view.bias = nullptr;
  const Array<T> qkv = random_array<T>(3 * shape.size(), 1.0);
  Array<T> out = qkv;
  rope_forward<T>(out.data(), inputs.cos.data(), inputs.sin.data(), inputs.num_keys.data(), inputs.view,
                  shape.batch, shape.time, shape.heads, shape.head_dim, nullptr);
  for (int64_t row = 0; row < shape.rows(); ++row) {
    const double c = std::copysign(1e-20, inputs.position.at(inputs.num_keys.data()[row] - 1));
    for (int64_t i = 0; i < shape.head_dim; ++i) {
      const Turned q = turned(qkv, shape.in_qkv(row, 0, 1, 0), i, inputs, shape, row, 1.0);
      EXPECT_TRUE(near<T>(out.at(shape.in_qkv(row, 0, 1, i)), q.value * c, 6, q.terms * 1e-20));
    }
  }
}

TYPED_TEST(CudaRope, NothingIsLaunchedForNoRows) {
  rope_forward<TypeParam>(nullptr, nullptr, nullptr, nullptr, {}, 0, 4, 2, 8, nullptr);
  RopeBackwardArgs<TypeParam> args = {};
  args.time = 4;
  args.heads = 2;
  args.head_dim = 8;
  rope_backward<TypeParam>(args, 0, nullptr);
}

}  // namespace
}  // namespace ssgpt::kernels::cuda
