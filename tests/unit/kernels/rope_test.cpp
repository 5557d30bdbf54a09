// Rotary positions and the row scale against plain fp64 formulas and autograd.

#include "core/check.h"
#include "kernels/ops.h"
#include "kernels/support.h"

#include <array>

#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/cos.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/log.h>
#include <ATen/ops/outer.h>
#include <ATen/ops/pow.h>
#include <ATen/ops/remainder.h>
#include <ATen/ops/sin.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>

namespace ssgpt::kernels {
namespace {

struct Shape {
  int64_t batch, time, heads, head_dim;
};
const std::vector<Shape> kShapes = {{1, 1, 1, 2},  {2, 5, 3, 6},  {3, 7, 2, 32},
                                    {1, 9, 2, 64}, {2, 3, 1, 96}, {2, 4, 3, 128}};

class Rope : public OpTest {
 protected:
  // A CPU needs none.
  static at::Tensor no_scratch() { return at::empty({row_scale_scratch(at::kCPU, 1, 1)}, at::kFloat); }
  // fp64 (T, H): the angle of each component, in Hugging Face's order (both halves alike).
  static at::Tensor angles(int64_t time, int64_t head_dim) {
    const at::Tensor index = at::arange(0, head_dim, 2, at::kDouble) / static_cast<double>(head_dim);
    const at::Tensor half = at::outer(at::arange(time, at::kDouble), at::pow(10000.0, -index));
    return at::cat({half, half}, 1);
  }
  static at::Tensor table(const at::Tensor& both_halves) {
    return both_halves.narrow(1, 0, both_halves.size(1) / 2).to(at::kFloat).contiguous();
  }
  // x (B, T, N, H) rotated: x cos + rotate_half(x) sin.
  static at::Tensor rotate(const at::Tensor& x, const at::Tensor& angle) {
    const int64_t half = x.size(3) / 2;
    const at::Tensor turned = at::cat({-x.narrow(3, half, half), x.narrow(3, 0, half)}, 3);
    return x * at::cos(angle).unsqueeze(1) + turned * at::sin(angle).unsqueeze(1);
  }
  // Runs forward and backward of the op and of the formula; s, b undefined: not there.
  void compare(const Shape& shape, const at::Tensor& position, const at::Tensor& s, const at::Tensor& b);
};

void Rope::compare(const Shape& shape, const at::Tensor& position, const at::Tensor& s, const at::Tensor& b) {
  const auto [batch, time, heads, head_dim] = shape;
  SCOPED_TRACE(testing::Message() << batch << " x " << time << " x " << heads << " x " << head_dim);
  const at::Tensor qkv = data({batch, time, 3, heads, head_dim});
  // n restarts within the row, as where documents meet.
  const at::Tensor n = at::remainder(at::arange(batch * time, at::kLong), 4).add(1).view({batch, time});
  const at::Tensor angle = angles(time, head_dim);
  const RowScale row_scale = {position, s, b};

  const at::Tensor qkv64 = leaf(qkv);
  const at::Tensor position64 = position.defined() ? leaf(position) : at::Tensor();
  const at::Tensor s64 = s.defined() ? leaf(s) : at::Tensor();
  const at::Tensor b64 = b.defined() ? leaf(b) : at::Tensor();
  at::Tensor q64 = rotate(qkv64.select(2, 0), angle);
  const at::Tensor k64 = rotate(qkv64.select(2, 1), angle);
  if (position.defined()) {
    at::Tensor c = position64.index_select(0, n.view({-1}) - 1).view({batch, time, 1});
    if (s.defined()) c = c * s64;
    if (b.defined()) c = c + b64;
    c = at::where((n == 1).unsqueeze(2), c.detach(), c.expand({batch, time, heads}));
    q64 = q64 * c.unsqueeze(3);
  }
  const at::Tensor expected = at::cat({q64.unsqueeze(2), k64.unsqueeze(2), qkv64.narrow(2, 2, 1)}, 2);

  const at::Tensor cos = table(at::cos(angle));
  const at::Tensor sin = table(at::sin(angle));
  rope_forward(qkv, cos, sin, n.to(at::kInt), row_scale);
  // Two products of rounded tables; the sum may cancel. bf16: the rounding of the result on top.
  ASSERT_TRUE(is_close(qkv, expected, unit(), 3e-7));

  const at::Tensor d_q = data({batch, time, heads, head_dim}).transpose(1, 2);  // strided
  const at::Tensor d_k = data({batch, heads, time, head_dim});
  const at::Tensor d_v = data({batch, time, heads, head_dim}).transpose(1, 2);
  const at::Tensor d_c = position.defined() ? at::empty({batch, time, heads}, at::kFloat) : at::Tensor();
  const at::Tensor d_expected = at::cat(
      {d_q.transpose(1, 2).unsqueeze(2), d_k.transpose(1, 2).unsqueeze(2), d_v.transpose(1, 2).unsqueeze(2)},
      2);
  expected.backward(fp64(d_expected));
  rope_backward(d_q, d_k, d_v, cos, sin, n.to(at::kInt), row_scale, qkv, d_c);
  EXPECT_TRUE(is_close(qkv, qkv64.grad(), unit(), 1e-6));
  if (!position.defined()) return;

  const at::Tensor d_s = s.defined() ? at::zeros_like(s) : at::Tensor();
  const at::Tensor d_b = b.defined() ? at::zeros_like(b) : at::Tensor();
  const at::Tensor d_position = at::zeros_like(position);
  row_scale_backward(d_c, n.to(at::kInt), row_scale, d_s, d_b, d_position, no_scratch());
  // The op reads q' as it was stored: with bf16 each of its H components is off by up to 2^-8, at random.
  const double tolerance = 4 * unit() + 3e-6;
  if (time == 1) return;  // n = 1 alone: the gradients are exactly 0, which the last test looks at
  EXPECT_TRUE(is_close(d_position, position64.grad(), tolerance, tolerance));
  if (s.defined()) {
    EXPECT_TRUE(is_close(d_s, s64.grad(), tolerance, tolerance));
  }
  if (b.defined()) {
    EXPECT_TRUE(is_close(d_b, b64.grad(), tolerance, tolerance));
  }
}

TEST_P(Rope, WithoutRowScaleMatches) {
  for (const Shape& shape : kShapes) compare(shape, {}, {}, {});
}

TEST_P(Rope, WithLogPositionsMatches) {
  const at::Tensor log_n = at::log(at::arange(1, 10, at::kDouble)).to(at::kFloat);
  for (const Shape& shape : kShapes) compare(shape, log_n, {}, {});
}

TEST_P(Rope, WithScaleMatches) {
  const at::Tensor log_n = at::log(at::arange(1, 10, at::kDouble)).to(at::kFloat);
  for (const Shape& shape : kShapes) compare(shape, log_n, fp32({shape.heads}), {});
}

TEST_P(Rope, WithScaleBiasAndLearnedPositionsMatches) {
  for (const Shape& shape : kShapes) compare(shape, fp32({9}), fp32({shape.heads}), fp32({shape.heads}));
}

TEST_P(Rope, GradientOfAScaleOfZeroIsNotLost) {
  const at::Tensor log_n = at::log(at::arange(1, 10, at::kDouble)).to(at::kFloat);
  const at::Tensor zero = at::zeros({2}, at::kFloat);
  const at::Tensor qkv = data({1, 4, 3, 2, 32});
  const at::Tensor angle = angles(4, 32);
  const at::Tensor n = at::arange(1, 5, at::kInt).view({1, 4});
  const at::Tensor d_q = data({1, 2, 4, 32});
  const at::Tensor q64 = rotate(fp64(qkv.select(2, 0)), angle).transpose(1, 2);
  const at::Tensor expected =
      ((q64 * fp64(d_q)).sum(3) * fp64(log_n.narrow(0, 0, 4))).sum(at::IntArrayRef{0, 2});

  const RowScale row_scale = {log_n, zero, {}};
  const at::Tensor cos = table(at::cos(angle));
  const at::Tensor sin = table(at::sin(angle));
  rope_forward(qkv, cos, sin, n, row_scale);
  EXPECT_LT(qkv.select(2, 0).abs().max().item<float>(), 1e-18f);
  const at::Tensor d_c = at::empty({1, 4, 2}, at::kFloat);
  rope_backward(d_q, d_q, d_q, cos, sin, n, row_scale, qkv, d_c);
  const at::Tensor d_s = at::zeros({2}, at::kFloat);
  row_scale_backward(d_c, n, row_scale, d_s, {}, {}, no_scratch());
  EXPECT_TRUE(is_close(d_s, expected, 4 * unit() + 3e-6, 4 * unit() + 3e-6));
}

TEST_P(Rope, OneKeyGivesTheRowScaleNoGradient) {
  const at::Tensor qkv = data({1, 1, 3, 2, 8});
  const at::Tensor d = data({1, 2, 1, 8});
  const at::Tensor one = at::zeros({1, 1}, at::kInt) + 1;
  const RowScale row_scale = {fp32({3}), {}, {}};
  const at::Tensor d_c = at::empty({1, 1, 2}, at::kFloat);
  rope_backward(d, d, d, fp32({1, 4}), fp32({1, 4}), one, row_scale, qkv, d_c);
  EXPECT_TRUE(d_c.equal(at::zeros_like(d_c)));
}

TEST_P(Rope, MoreKeysThanPositionsIsADefect) {
  const RowScale row_scale = {fp32({3}), {}, {}};
  EXPECT_THROW(rope_forward(data({1, 1, 3, 1, 2}), fp32({1, 1}), fp32({1, 1}),
                            at::zeros({1, 1}, at::kInt) + 4, row_scale),
               core::InternalError);
}

INSTANTIATE_TEST_SUITE_P(Variants, Rope, testing::ValuesIn(all_variants()), variant_name);

}  // namespace
}  // namespace ssgpt::kernels
