// Gradients of the row scale's parameters on a GPU, against autograd in fp64.
#include "kernels/ops.h"
#include "op_support.h"

#include <algorithm>
#include <array>
#include <cmath>

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/bincount.h>
#include <ATen/ops/full.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/remainder.h>
#include <ATen/ops/zeros.h>

namespace ssgpt::kernels {
namespace {

struct Size {
  int64_t batch, time, heads, positions;
};

// One row; fewer rows than parts; heads of several blocks; parts with more rows than a block has threads;
// many positions.
constexpr std::array kSizes = {Size{1, 1, 1, 1},    Size{1, 7, 3, 5},     Size{2, 20, 12, 64},
                               Size{3, 3, 35, 700}, Size{5, 6700, 2, 40}, Size{16, 1024, 12, 1024}};

struct Gradients {
  at::Tensor d_scale, d_bias, d_position;
  bool equal(const Gradients& other) const {
    return d_scale.equal(other.d_scale) && d_bias.equal(other.d_bias) && d_position.equal(other.d_position);
  }
};

// Tensors on the GPU.
struct Case {
  at::Tensor d_row_scale;  // fp32 (B, T, N)
  at::Tensor num_keys;     // int32 (B, T)
  RowScale row_scale;
};

class RowScaleOnGpu : public OpOnGpu {
 protected:
  Case case_of(const Size& size, bool has_scale) {
    const auto [batch, time, heads, positions] = size;
    const at::Tensor row = at::arange(batch * time);
    return {.d_row_scale = on_gpu(normal({batch, time, heads})),
            // some positions often, some never
            .num_keys = on_gpu(
                (at::remainder(at::remainder(row * row, 1009), positions) + 1).view({batch, time}), at::kInt),
            .row_scale = {.position = on_gpu(normal({positions})),
                          .scale = has_scale ? on_gpu(normal({heads})) : at::Tensor(),
                          .bias = has_scale ? on_gpu(normal({heads})) : at::Tensor()}};
  }

  // The values that the gradients are added to.
  static Gradients before(const Case& c) {
    const auto filled = [](int64_t size, double value) {
      return at::full({size}, value, at::TensorOptions(device()).dtype(at::kFloat));
    };
    return {.d_scale = filled(c.d_row_scale.size(2), 0.5),
            .d_bias = filled(c.d_row_scale.size(2), -0.5),
            .d_position = filled(c.row_scale.position.numel(), 0.25)};
  }

  static at::Tensor scratch_of(const Case& c) {
    return nans({row_scale_scratch(device(), c.d_row_scale.size(2), c.row_scale.position.numel())});
  }

  static Gradients run(const Case& c) {
    const Gradients result = before(c);
    row_scale_backward(c.d_row_scale, c.num_keys, c.row_scale, result.d_scale, result.d_bias,
                       result.d_position, scratch_of(c));
    return result;
  }

  static void expect_gradients(const Case& c, const Gradients& actual);
};

void RowScaleOnGpu::expect_gradients(const Case& c, const Gradients& actual) {
  const int64_t rows = c.num_keys.numel();
  const int64_t heads = c.d_row_scale.size(2);
  const at::Tensor index = c.num_keys.cpu().to(at::kLong).view({-1}) - 1;
  const at::Tensor position = leaf(c.row_scale.position);
  const at::Tensor ones = at::ones({heads}, at::kFloat);
  const at::Tensor scale = leaf(c.row_scale.scale.defined() ? c.row_scale.scale : ones);
  const at::Tensor bias = leaf(ones);
  const at::Tensor d = fp64(c.d_row_scale).view({rows, heads});
  (position.index_select(0, index).unsqueeze(1) * scale + bias).backward(d);

  // fp64 sums; each part's sum is rounded, the last one, and the sum with the previous value.
  const at::Tensor at_row = position.detach().index_select(0, index).unsqueeze(1);
  EXPECT_TRUE(compare(actual.d_scale, scale.grad() + 0.5, 3, (d * at_row).abs().sum(0) + 0.5));
  EXPECT_TRUE(compare(actual.d_bias, bias.grad() - 0.5, 3, d.abs().sum(0) + 0.5));
  // A product and a sum per head, a sum per row of a part with the position, and as above.
  const int64_t most = std::min(at::bincount(index).max().item<int64_t>(), rows / 64 + 1);
  const at::Tensor terms =
      at::zeros(position.sizes(), at::kDouble).index_add(0, index, (d * scale.detach()).abs().sum(1));
  EXPECT_TRUE(compare(actual.d_position, position.grad() + 0.25, static_cast<double>(1 + heads + most + 3),
                      terms + 0.25));
}

TEST_F(RowScaleOnGpu, BackwardAddsTheSums) {
  for (const Size& size : kSizes) {
    for (const bool has_scale : {false, true}) {
      SCOPED_TRACE(testing::Message() << size.batch << " x " << size.time << " rows, " << size.heads
                                      << " heads, " << size.positions << " positions");
      const Case c = case_of(size, has_scale);
      expect_gradients(c, run(c));
    }
  }
}

TEST_F(RowScaleOnGpu, BackwardGivesTheSameBitsEveryTime) {
  for (const Size& size : kSizes) {
    const Case c = case_of(size, /*has_scale=*/true);
    const Gradients first = run(c);
    for (int i = 0; i < 3; ++i) EXPECT_TRUE(run(c).equal(first));
  }
}

TEST_F(RowScaleOnGpu, OutputsThatAreNotAskedForAreLeftOut) {
  const Case c = case_of({2, 300, 5, 40}, /*has_scale=*/true);
  const Gradients all = run(c);
  const Gradients one = before(c);
  const auto backward = [&](const at::Tensor& d_scale, const at::Tensor& d_bias,
                            const at::Tensor& d_position) {
    row_scale_backward(c.d_row_scale, c.num_keys, c.row_scale, d_scale, d_bias, d_position, scratch_of(c));
  };
  backward(one.d_scale, {}, {});
  backward({}, one.d_bias, {});
  backward({}, {}, one.d_position);
  backward({}, {}, {});
  EXPECT_TRUE(one.equal(all));
}

// An invalid number of keys does not say which position its gradient belongs to: the first position receives
// the NaN.
TEST_F(RowScaleOnGpu, ANumberOfKeysWithoutAPositionMakesGradientsNan) {
  for (const int bad : {0, -1, 5}) {
    const Case c = case_of({1, 3, 2, 4}, /*has_scale=*/true);
    c.num_keys[0][0].fill_(2);
    c.num_keys[0][1].fill_(bad);
    c.num_keys[0][2].fill_(4);
    const Gradients actual = run(c);
    EXPECT_TRUE(actual.d_scale.isnan().all().item<bool>());
    EXPECT_TRUE(actual.d_bias.isfinite().all().item<bool>());
    EXPECT_TRUE(actual.d_position[0].isnan().item<bool>());
    EXPECT_TRUE(actual.d_position.narrow(0, 1, 3).isfinite().all().item<bool>());
  }
}

TEST_F(RowScaleOnGpu, BackwardWaitsForTheCurrentStream) {
  Case c = case_of({16, 1024, 12, 1024}, /*has_scale=*/true);
  const Gradients expected = run(c);
  const Gradients actual = before(c);
  const at::Tensor scratch = scratch_of(c);
  c.d_row_scale = late(c.d_row_scale);
  row_scale_backward(c.d_row_scale, c.num_keys, c.row_scale, actual.d_scale, actual.d_bias, actual.d_position,
                     scratch);
  EXPECT_TRUE(actual.equal(expected));
}

}  // namespace
}  // namespace ssgpt::kernels
