// Rotary positions and the row scale against plain fp64 formulas and autograd.

#include "core/check.h"
#include "kernels/ops.h"
#include "kernels/support.h"

#include <cmath>
#include <set>

#include <ATen/Parallel.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/cos.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <ATen/ops/log.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/outer.h>
#include <ATen/ops/pow.h>
#include <ATen/ops/remainder.h>
#include <ATen/ops/rsqrt.h>
#include <ATen/ops/sin.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>

namespace ssgpt::kernels {
namespace {

struct Shape {
  int64_t batch, time, heads, head_dim;
  // Rotated whole, in half, in one pair, and not.
  std::set<int64_t> rotations() const { return {head_dim, head_dim / 4 * 2, 2, 0}; }
};
const std::vector<Shape> kShapes = {{1, 1, 1, 2},  {2, 5, 3, 6},  {3, 7, 2, 32}, {1, 9, 2, 64},
                                    {1, 4, 2, 70}, {2, 3, 1, 96}, {2, 4, 3, 128}};

constexpr double kEps = 1e-5;

class Rope : public OpTest {
 protected:
  // A CPU needs none.
  static at::Tensor no_scratch() { return at::empty({row_scale_scratch(at::kCPU, 1, 1)}, at::kFloat); }
  // fp64 (T, R): the angle of each component, in Hugging Face's order (both halves alike).
  static at::Tensor angles(int64_t time, int64_t rotated) {
    if (rotated == 0) return at::empty({time, 0}, at::kDouble);
    const at::Tensor index = at::arange(0, rotated, 2, at::kDouble) / static_cast<double>(rotated);
    const at::Tensor half = at::outer(at::arange(time, at::kDouble), at::pow(10000.0, -index));
    return at::cat({half, half}, 1);
  }
  static at::Tensor table(const at::Tensor& both_halves) {
    return both_halves.narrow(1, 0, both_halves.size(1) / 2).to(at::kFloat).contiguous();
  }
  static Rotation rotation(const at::Tensor& angle, double factor = 1.0) {
    return {table(at::cos(angle) * factor), table(at::sin(angle) * factor), factor};
  }
  // x (B, T, N, H) with the dimensions that angles (T, R) are for rotated, x cos + rotate_half(x) sin.
  static at::Tensor rotate(const at::Tensor& x, const at::Tensor& angle) {
    const int64_t half = angle.size(1) / 2;
    const at::Tensor first = x.narrow(3, 0, 2 * half);
    const at::Tensor turned = at::cat({-x.narrow(3, half, half), x.narrow(3, 0, half)}, 3);
    return at::cat({first * at::cos(angle).unsqueeze(1) + turned * at::sin(angle).unsqueeze(1),
                    x.narrow(3, 2 * half, x.size(3) - 2 * half)},
                   3);
  }
  static at::Tensor normed(const at::Tensor& x, const at::Tensor& gain) {
    return x * at::rsqrt((x * x).mean(at::IntArrayRef{3}, /*keepdim=*/true) + kEps) * gain;
  }
  QkNorm make_norm(const Shape& shape) {
    const auto [batch, time, heads, head_dim] = shape;
    return {.q_gain = data({head_dim}),
            .k_gain = data({head_dim}),
            .eps = kEps,
            .raw = at::empty({batch, time, 2, heads, head_dim}, dtype())};
  }
  static QkNormGradients make_gradients(const Shape& shape) {
    const int64_t chunks = num_row_chunks(shape.batch * shape.time);
    return {.q_gain = at::zeros({shape.head_dim}, at::kFloat),
            .k_gain = at::zeros({shape.head_dim}, at::kFloat),
            .scratch = at::full({2, chunks, shape.head_dim}, std::nan(""), at::kFloat)};
  }
  // Runs forward and backward of the op and of the formula.
  void compare(const Shape& shape, int64_t rotated, const QkNorm& norm, const RowScale& row_scale);
  // For whole and partial rotations, with a norm and without.
  void compare_all(const Shape& shape, const RowScale& row_scale) {
    for (const int64_t rotated : shape.rotations()) {
      compare(shape, rotated, {}, row_scale);
      compare(shape, rotated, make_norm(shape), row_scale);
    }
  }
};

void Rope::compare(const Shape& shape, int64_t rotated, const QkNorm& norm, const RowScale& row_scale) {
  const auto [batch, time, heads, head_dim] = shape;
  SCOPED_TRACE(testing::Message() << batch << " x " << time << " x " << heads << " x " << head_dim << ", "
                                  << rotated << " rotated" << (norm.identity() ? "" : " behind a norm"));
  const at::Tensor qkv = data({batch, time, 3, heads, head_dim});
  // n restarts within the row, as where documents meet.
  const at::Tensor n = at::remainder(at::arange(batch * time, at::kLong), 4).add(1).view({batch, time});
  const at::Tensor num_keys = n.to(at::kInt);
  const at::Tensor angle = angles(time, rotated);
  const double factor = rotated == head_dim ? 1.0 : 1.25;  // of q and k

  const auto leaf_of = [](const at::Tensor& x) {
    return x.defined() ? leaf(x) : at::Tensor();
  };
  const at::Tensor qkv64 = leaf(qkv);
  const at::Tensor position64 = leaf_of(row_scale.position);
  const at::Tensor s64 = leaf_of(row_scale.scale);
  const at::Tensor b64 = leaf_of(row_scale.bias);
  const at::Tensor q_gain64 = leaf_of(norm.q_gain);
  const at::Tensor k_gain64 = leaf_of(norm.k_gain);
  at::Tensor q64 = qkv64.select(2, 0);
  at::Tensor k64 = qkv64.select(2, 1);
  if (!norm.identity()) {
    q64 = normed(q64, q_gain64);
    k64 = normed(k64, k_gain64);
  }
  q64 = rotate(q64, angle) * factor;
  k64 = rotate(k64, angle) * factor;
  const at::Tensor unscaled_q = q64;
  if (!row_scale.identity()) {
    at::Tensor c = position64.index_select(0, n.view({-1}) - 1).view({batch, time, 1});
    if (s64.defined()) c = c * s64;
    if (b64.defined()) c = c + b64;
    c = at::where((n == 1).unsqueeze(2), c.detach(), c.expand({batch, time, heads}));
    q64 = q64 * c.unsqueeze(3);
  }
  const at::Tensor expected = at::cat({q64.unsqueeze(2), k64.unsqueeze(2), qkv64.narrow(2, 2, 1)}, 2);

  const Rotation turn = rotation(angle, factor);
  rope_forward(qkv, turn, num_keys, row_scale, norm);
  // Two products of rounded tables; the sum may cancel. The norm is a sum of squares, a root, a quotient and
  // two products more. bf16: the rounding of the result on top, which is the only one.
  ASSERT_TRUE(is_close(qkv, expected, unit(), norm.identity() ? 3e-7 : 6e-7));
  if (!norm.identity()) {
    EXPECT_TRUE(fp64(norm.raw).equal(qkv64.detach().narrow(2, 0, 2)));
  }

  const at::Tensor d_q = data({batch, time, heads, head_dim}).transpose(1, 2);  // strided
  const at::Tensor d_k = data({batch, heads, time, head_dim});
  const at::Tensor d_v = data({batch, time, heads, head_dim}).transpose(1, 2);
  const at::Tensor d_c = row_scale.identity() ? at::Tensor() : at::empty({batch, time, heads}, at::kFloat);
  const at::Tensor d_expected = at::cat(
      {d_q.transpose(1, 2).unsqueeze(2), d_k.transpose(1, 2).unsqueeze(2), d_v.transpose(1, 2).unsqueeze(2)},
      2);
  expected.backward(fp64(d_expected));
  const QkNormGradients gradients = norm.identity() ? QkNormGradients() : make_gradients(shape);
  if (!norm.identity()) gradients.q_gain.fill_(0.5);  // which is added to
  rope_backward(d_q, d_k, d_v, turn, num_keys, row_scale, norm, qkv, d_c, gradients);
  // The same; the norm's gradient is a difference, of which the second term has the sum of H products.
  EXPECT_TRUE(is_close(qkv, qkv64.grad(), unit(), norm.identity() ? 1e-6 : 2e-6));
  if (!norm.identity()) {
    // Sums of products, in fp32 whatever the data type.
    EXPECT_TRUE(is_close(gradients.q_gain - 0.5, q_gain64.grad(), 0.0, 2e-6));
    EXPECT_TRUE(is_close(gradients.k_gain, k_gain64.grad(), 0.0, 2e-6));
  }
  if (row_scale.identity()) return;

  const at::Tensor d_s = at::zeros({heads}, at::kFloat);
  const at::Tensor d_b = at::zeros({heads}, at::kFloat);
  const at::Tensor d_position = at::zeros_like(row_scale.position);
  row_scale_backward(d_c, num_keys, row_scale, s64.defined() ? d_s : at::Tensor(),
                     b64.defined() ? d_b : at::Tensor(), d_position, no_scratch());
  // Each gradient is a sum of products of d_q and the queries, and may cancel: the sizes of the products, by
  // row and head.
  const at::Tensor terms = (fp64(d_q).transpose(1, 2) * unscaled_q.detach()).abs().sum(3);
  const at::Tensor counted = terms.masked_fill((n == 1).unsqueeze(2), 0.0);
  const at::Tensor position = fp64(row_scale.position).abs();
  const at::Tensor at_n = position.index_select(0, n.view({-1}) - 1).view({batch, time, 1});
  // In fp32, in one order or another. Without a norm the op reads q' as it was stored, each component off by
  // up to a rounding; with one it makes q' anew.
  const double tolerance = (norm.identity() ? unit() : 0.0) + 1e-6;
  const auto expect_close = [&](const at::Tensor& actual, const at::Tensor& leaf64, const at::Tensor& sizes) {
    if (!leaf64.defined()) return;
    const at::Tensor error = (fp64(actual) - leaf64.grad()).abs();
    EXPECT_TRUE((error <= tolerance * sizes).all().item<bool>()) << error << tolerance * sizes;
  };
  expect_close(d_s, s64, (counted * at_n).sum(at::IntArrayRef{0, 1}));
  expect_close(d_b, b64, counted.sum(at::IntArrayRef{0, 1}));
  const at::Tensor by_row = (s64.defined() ? counted * s64.detach().abs() : counted).sum(2).view({-1});
  expect_close(d_position, position64, at::zeros_like(position).index_add(0, n.view({-1}) - 1, by_row));
}

TEST_P(Rope, WithoutRowScaleMatches) {
  for (const Shape& shape : kShapes) compare_all(shape, {});
}

TEST_P(Rope, WithLogPositionsMatches) {
  const at::Tensor log_n = at::log(at::arange(1, 10, at::kDouble)).to(at::kFloat);
  for (const Shape& shape : kShapes) compare_all(shape, {log_n, {}, {}});
}

TEST_P(Rope, WithScaleMatches) {
  const at::Tensor log_n = at::log(at::arange(1, 10, at::kDouble)).to(at::kFloat);
  for (const Shape& shape : kShapes) compare_all(shape, {log_n, fp32({shape.heads}), {}});
}

TEST_P(Rope, WithScaleBiasAndLearnedPositionsMatches) {
  for (const Shape& shape : kShapes) {
    compare_all(shape, {fp32({9}), fp32({shape.heads}), fp32({shape.heads})});
  }
}

// The rotated part of a head equals a head of that size, bit for bit, and the rest stays as it is.
TEST_P(Rope, RotatesAPartAsAHeadOfItsOwn) {
  const Shape shape = {2, 9, 3, 96};
  const at::Tensor num_keys = at::ones({2, 9}, at::kInt);
  const at::Tensor before = data({2, 9, 3, 3, 96});
  const at::Tensor d = data({2, 3, 9, 96});
  for (const int64_t rotated : shape.rotations()) {
    const Rotation turn = rotation(angles(9, rotated));
    const at::Tensor whole = before.clone();
    rope_forward(whole, turn, num_keys, {}, {});
    const at::Tensor whole_back = before.clone();
    rope_backward(d, d, d, turn, num_keys, {}, {}, whole_back, {}, {});
    EXPECT_TRUE(whole.narrow(4, rotated, 96 - rotated).equal(before.narrow(4, rotated, 96 - rotated)));
    const at::Tensor d_rest = d.narrow(3, rotated, 96 - rotated).transpose(1, 2).unsqueeze(2);
    EXPECT_TRUE(whole_back.narrow(4, rotated, 96 - rotated).equal(d_rest.expand({2, 9, 3, 3, 96 - rotated})));
    if (rotated == 0) continue;
    const at::Tensor part = before.narrow(4, 0, rotated).contiguous();
    rope_forward(part, turn, num_keys, {}, {});
    EXPECT_TRUE(whole.narrow(4, 0, rotated).equal(part));
    const at::Tensor d_part = d.narrow(3, 0, rotated);
    rope_backward(d_part, d_part, d_part, turn, num_keys, {}, {}, part, {}, {});
    EXPECT_TRUE(whole_back.narrow(4, 0, rotated).equal(part));
  }
}

// Rows of several chunks, enough for several threads.
TEST_P(Rope, GainsHaveTheSameGradientsWhateverTheThreads) {
  const Shape shape = {3, 130, 8, 32};
  const QkNorm norm = make_norm(shape);
  norm.raw.copy_(data(norm.raw.sizes()));
  const at::Tensor d = data({3, 8, 130, 32});
  const at::Tensor num_keys = at::ones({3, 130}, at::kInt);
  const Rotation turn = rotation(angles(130, 16));
  const auto gradients_with = [&](int threads) {
    at::set_num_threads(threads);
    const QkNormGradients gradients = make_gradients(shape);
    const at::Tensor qkv = at::empty({3, 130, 3, 8, 32}, dtype());
    rope_backward(d, d, d, turn, num_keys, {}, norm, qkv, {}, gradients);
    return at::cat({gradients.q_gain, gradients.k_gain, qkv.to(at::kFloat).flatten()});
  };
  const int threads = at::get_num_threads();
  const at::Tensor one = gradients_with(1);
  EXPECT_TRUE(gradients_with(2).equal(one) && gradients_with(5).equal(one));
  at::set_num_threads(threads);
}

// A number that is not finite spoils its own head, and no other one.
TEST_P(Rope, NormLetsNanAndInfinityThroughInTheirHeadAlone) {
  const Shape shape = {1, 3, 2, 6};
  const at::Tensor num_keys = at::ones({1, 3}, at::kInt);
  const Rotation turn = rotation(angles(3, 2));
  const at::Tensor clean = data({1, 3, 3, 2, 6});
  const at::Tensor d = data({1, 2, 3, 6});
  for (const double poison : {std::nan(""), HUGE_VAL}) {
    for (const int64_t part : {0, 1}) {
      const at::Tensor qkv = clean.clone();
      qkv[0][1][part][1][3].fill_(poison);
      const QkNorm norm = make_norm(shape);
      rope_forward(qkv, turn, num_keys, {}, norm);
      at::Tensor is_head = at::zeros({1, 3, 3, 2, 6}, at::kBool);
      is_head[0][1][part][1].fill_(true);
      EXPECT_TRUE(qkv.isfinite().logical_or(is_head).all().item<bool>());
      EXPECT_TRUE(qkv[0][1][part][1][3].isnan().item<bool>());
      const QkNormGradients gradients = make_gradients(shape);
      rope_backward(d, d, d, turn, num_keys, {}, norm, qkv, {}, gradients);
      EXPECT_TRUE(qkv.isfinite().equal(is_head.logical_not()));
      const at::Tensor& spoilt = part == 0 ? gradients.q_gain : gradients.k_gain;
      const at::Tensor& kept = part == 0 ? gradients.k_gain : gradients.q_gain;
      EXPECT_FALSE(spoilt[3].isfinite().item<bool>());
      EXPECT_TRUE(kept.isfinite().all().item<bool>());
    }
  }
}

// Without a backward pass nothing is kept, and the result is the same.
TEST_P(Rope, NormNeedsNoRaw) {
  const Shape shape = {2, 3, 2, 32};
  QkNorm norm = make_norm(shape);
  const at::Tensor num_keys = at::ones({2, 3}, at::kInt);
  const Rotation turn = rotation(angles(3, 32));
  const at::Tensor with = data({2, 3, 3, 2, 32});
  const at::Tensor without = with.clone();
  rope_forward(with, turn, num_keys, {}, norm);
  norm.raw = at::Tensor();
  rope_forward(without, turn, num_keys, {}, norm);
  EXPECT_TRUE(without.equal(with));
  const at::Tensor d = data({2, 2, 3, 32});
  EXPECT_THROW(rope_backward(d, d, d, turn, num_keys, {}, norm, with, {}, make_gradients(shape)),
               core::InternalError);
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
  rope_forward(qkv, rotation(angle), n, row_scale, {});
  EXPECT_LT(qkv.select(2, 0).abs().max().item<float>(), 1e-18f);
  const at::Tensor d_c = at::empty({1, 4, 2}, at::kFloat);
  rope_backward(d_q, d_q, d_q, rotation(angle), n, row_scale, {}, qkv, d_c, {});
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
  rope_backward(d, d, d, {fp32({1, 4}), fp32({1, 4})}, one, row_scale, {}, qkv, d_c, {});
  EXPECT_TRUE(d_c.equal(at::zeros_like(d_c)));
}

TEST_P(Rope, MoreKeysThanPositionsIsADefect) {
  const RowScale row_scale = {fp32({3}), {}, {}};
  EXPECT_THROW(rope_forward(data({1, 1, 3, 1, 2}), {fp32({1, 1}), fp32({1, 1})},
                            at::zeros({1, 1}, at::kInt) + 4, row_scale, {}),
               core::InternalError);
}

TEST_P(Rope, TablesOfMoreThanAHeadAreADefect) {
  const at::Tensor one = at::ones({1, 1}, at::kInt);
  EXPECT_THROW(rope_forward(data({1, 1, 3, 1, 2}), {fp32({1, 2}), fp32({1, 2})}, one, {}, {}),
               core::InternalError);
}

INSTANTIATE_TEST_SUITE_P(Variants, Rope, testing::ValuesIn(all_variants()), variant_name);

}  // namespace
}  // namespace ssgpt::kernels
