// Query/key norm on a GPU, with whole and partial rotation, against plain formulas and autograd in fp64.
#include "core/check.h"
#include "kernels/ops.h"
#include "op_support.h"

#include <algorithm>
#include <array>
#include <cstdint>

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/log.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/remainder.h>
#include <ATen/ops/rsqrt.h>
#include <ATen/ops/where.h>

namespace ssgpt::kernels {
namespace {

constexpr double kEps = 1e-5;
constexpr int64_t kPositions = 9;

struct Shape {
  int64_t batch, time, heads, head_dim, rotated;
};

// Heads of whole vectors and not, up to the longest; rows of several chunks, and more than a block takes at
// once; whole, partial and no rotation.
constexpr std::array kShapes = {
    Shape{1, 1, 1, 2, 2},    Shape{2, 5, 3, 6, 2},      Shape{2, 70, 1, 2, 0},     Shape{1, 70, 2, 16, 16},
    Shape{3, 50, 2, 32, 16}, Shape{2, 300, 12, 64, 64}, Shape{2, 300, 12, 64, 32}, Shape{1, 9, 2, 64, 8},
    Shape{1, 2, 5, 80, 0},   Shape{2, 9, 4, 128, 64},   Shape{1, 2, 1, 256, 256},  Shape{1, 90, 2, 512, 512},
    Shape{1, 2, 2, 130, 64}, Shape{1, 2, 1, 510, 254}};

// Roundings of rstd: a lane adds 16 squares, the warp 5 sums; the mean, eps, the root and the quotient.
constexpr double kRstdRoundings = 16 + 5 + 4;

// On the CPU; data rounded to the dtype. The tables are not angles: the formulas hold for any values.
struct Inputs {
  Shape shape;
  at::ScalarType dtype;
  at::Tensor qkv, num_keys;
  Rotation rotation;
  RowScale row_scale;
  std::array<at::Tensor, 2> gains;
  std::array<at::Tensor, 3> d;  // (B, T, N, H)
};

// Partial rotation by sign times the angles: the first dimensions of x (B, T, N, H), then the rest. With
// `terms`, returns the size of the terms of each sum.
at::Tensor turned(const at::Tensor& x, const Rotation& rotation, double sign, bool terms = false) {
  const int64_t half = rotation.cos.size(1);
  const auto table = [](const at::Tensor& of) {
    return at::cat({of, of}, 1).unsqueeze(1).to(at::kDouble);
  };
  const at::Tensor cos = table(rotation.cos);
  const at::Tensor sin = table(rotation.sin) * sign;
  const at::Tensor first = x.narrow(3, 0, 2 * half);
  const at::Tensor rest = x.narrow(3, 2 * half, x.size(3) - 2 * half) * rotation.rest;
  const at::Tensor other = at::cat({-x.narrow(3, half, half), x.narrow(3, 0, half)}, 3);
  if (terms) return at::cat({(first * cos).abs() + (other * sin).abs(), rest.abs()}, 3);
  return at::cat({first * cos + other * sin, rest}, 3);
}

at::Tensor rstd_of(const at::Tensor& x) {
  return at::rsqrt(x.square().mean(at::IntArrayRef{3}, /*keepdim=*/true) + kEps);
}

// q and k computed from the inputs, fp64 on the CPU, with autograd for the backward.
struct Plain {
  explicit Plain(const Inputs& inputs) {
    const auto [batch, time, heads, head_dim, rotated] = inputs.shape;
    c = at::ones({batch, time, heads, 1}, at::kDouble);
    c_terms = c;
    if (!inputs.row_scale.identity()) {
      const at::Tensor position =
          inputs.row_scale.position.to(at::kDouble).index_select(0, inputs.num_keys.view({-1}) - 1);
      const at::Tensor product =
          position.view({batch, time, 1, 1}) * inputs.row_scale.scale.to(at::kDouble).unsqueeze(1);
      const at::Tensor bias = inputs.row_scale.bias.to(at::kDouble).unsqueeze(1);
      c = product + bias;
      c_terms = product.abs() + bias.abs();
    }
    c = c.detach().clone().requires_grad_();
    for (const int64_t part : {0, 1}) {
      const size_t i = static_cast<size_t>(part);
      x[i] = inputs.qkv.select(2, part).to(at::kDouble).clone().requires_grad_();
      gains[i] = inputs.gains[i].to(at::kDouble).clone().requires_grad_();
      const at::Tensor normed = x[i] * rstd_of(x[i]) * gains[i];
      out[i] = turned(normed, inputs.rotation, 1.0);
      terms[i] = turned(normed.detach(), inputs.rotation, 1.0, /*terms=*/true);
    }
    out[0] = out[0] * c;
    terms[0] = terms[0] * c_terms;
  }
  at::Tensor c, c_terms;                 // (B, T, N, 1)
  std::array<at::Tensor, 2> x, gains;    // of q and k
  std::array<at::Tensor, 2> out, terms;  // of q and k; the size of the terms of `out`
};

class QkNormOnGpu : public OpOnGpu {
 protected:
  Inputs inputs_of(const Shape& shape, at::ScalarType dtype, bool is_scaled) {
    const auto [batch, time, heads, head_dim, rotated] = shape;
    const auto gradient = [&, b = batch, t = time, n = heads, h = head_dim] {
      return normal({b, t, n, h}, 1.0, dtype);
    };
    Inputs inputs = {.shape = shape,
                     .dtype = dtype,
                     .qkv = normal({batch, time, 3, heads, head_dim}, 1.0, dtype),
                     .num_keys = at::remainder(at::arange(batch * time), 7).add(1).view({batch, time}),
                     .rotation = {normal({time, rotated / 2}), normal({time, rotated / 2}), 1.25},
                     .row_scale = {},
                     .gains = {normal({head_dim}, 1.0, dtype), normal({head_dim}, 1.0, dtype)},
                     .d = {gradient(), gradient(), gradient()}};
    if (is_scaled) {
      inputs.row_scale = {at::log(at::arange(1, kPositions + 1)).to(at::kFloat), normal({heads}),
                          normal({heads})};
    }
    return inputs;
  }

  struct OnDevice {
    Rotation rotation;
    RowScale row_scale;
    at::Tensor num_keys, qkv;
    QkNorm norm;
  };
  static OnDevice moved(const Inputs& inputs) {
    const auto [batch, time, heads, head_dim, rotated] = inputs.shape;
    OnDevice result = {
        .rotation = {on_gpu(inputs.rotation.cos), on_gpu(inputs.rotation.sin), inputs.rotation.rest},
        .row_scale = {},
        .num_keys = on_gpu(inputs.num_keys, at::kInt),
        .qkv = on_gpu(inputs.qkv, inputs.dtype),
        .norm = {.q_gain = on_gpu(inputs.gains[0], inputs.dtype),
                 .k_gain = on_gpu(inputs.gains[1], inputs.dtype),
                 .eps = kEps,
                 .raw = nans({batch, time, 2, heads, head_dim}, inputs.dtype)}};
    if (!inputs.row_scale.identity()) {
      result.row_scale = {on_gpu(inputs.row_scale.position), on_gpu(inputs.row_scale.scale),
                          on_gpu(inputs.row_scale.bias)};
    }
    return result;
  }

  static QkNormGradients zero_gradients(const Shape& shape) {
    return {.q_gain = nans({shape.head_dim}).zero_(),
            .k_gain = nans({shape.head_dim}).zero_(),
            .scratch = nans({2, num_row_chunks(shape.batch * shape.time), shape.head_dim})};
  }

  void check(const Inputs& inputs) {
    const auto [batch, time, heads, head_dim, rotated] = inputs.shape;
    const bool is_scaled = !inputs.row_scale.identity();
    OnDevice given = moved(inputs);
    rope_forward(given.qkv, given.rotation, given.num_keys, given.row_scale, given.norm);
    const Plain plain(inputs);
    for (const int64_t part : {0, 1}) {
      const size_t i = static_cast<size_t>(part);
      // rstd and its two products; the rotation's, their sum, the factor and c's two roundings.
      EXPECT_TRUE(
          compare(given.qkv.select(2, part), plain.out[i].detach(), kRstdRoundings + 2 + 6, plain.terms[i]));
      EXPECT_TRUE(fp64(given.norm.raw.select(2, part)).equal(plain.x[i].detach()));
    }
    EXPECT_TRUE(fp64(given.qkv.select(2, 2)).equal(inputs.qkv.select(2, 2).to(at::kDouble)));

    const QkNormGradients gradients = zero_gradients(inputs.shape);
    const at::Tensor d_row_scale = is_scaled ? nans({batch, time, heads}) : at::Tensor();
    const auto heads_first = [&](size_t part) {
      return on_gpu(inputs.d[part], inputs.dtype).transpose(1, 2);  // strided
    };
    given.qkv.fill_(std::nan(""));  // must not be read
    rope_backward(heads_first(0), heads_first(1).contiguous(), heads_first(2), given.rotation, given.num_keys,
                  given.row_scale, given.norm, given.qkv, d_row_scale, gradients);
    ((plain.out[0] * inputs.d[0]).sum() + (plain.out[1] * inputs.d[1]).sum()).backward();
    for (const int64_t part : {0, 1}) expect_gradients(inputs, plain, given, gradients, part);
    EXPECT_TRUE(fp64(given.qkv.select(2, 2)).equal(inputs.d[2].to(at::kDouble)));
    if (!is_scaled) return;
    const at::Tensor is_first = inputs.num_keys.unsqueeze(2) == 1;
    const at::Tensor expected = plain.c.grad().squeeze(3).masked_fill(is_first, 0.0);
    EXPECT_TRUE(compare(d_row_scale, expected, kRstdRoundings + 16 + 5 + 3 + 1,
                        dot_terms(inputs, plain, 0).squeeze(3)));
    EXPECT_TRUE(fp64(d_row_scale).masked_select(is_first).eq(0.0).all().item<bool>());  // exactly
  }

  // Size of the terms of <w, n>, (B, T, N, 1): see norm_and_rotate_head_backward in kernels/cpu/rope.h.
  static at::Tensor dot_terms(const Inputs& inputs, const Plain& plain, size_t part) {
    const at::Tensor x = plain.x[part].detach();
    const at::Tensor w = turned(inputs.d[part].to(at::kDouble), inputs.rotation, -1.0, /*terms=*/true);
    return (w * plain.gains[part].detach().abs() * x.abs()).sum({3}, /*keepdim=*/true) * rstd_of(x);
  }

  static void expect_gradients(const Inputs& inputs, const Plain& plain, const OnDevice& given,
                               const QkNormGradients& gradients, int64_t part) {
    const size_t i = static_cast<size_t>(part);
    const at::Tensor x = plain.x[i].detach();
    const at::Tensor rstd = rstd_of(x);
    const at::Tensor c_terms = part == 0 ? plain.c_terms : at::ones({1}, at::kDouble);
    const at::Tensor w = turned(inputs.d[i].to(at::kDouble), inputs.rotation, -1.0, /*terms=*/true);
    const at::Tensor along =
        dot_terms(inputs, plain, i) * rstd.square() / static_cast<double>(inputs.shape.head_dim);
    // rstd thrice, the sum of the products, which has three roundings each; c; and seven products.
    EXPECT_TRUE(compare(given.qkv.select(2, part), plain.x[i].grad(), 3 * kRstdRoundings + 16 + 5 + 3 + 3 + 7,
                        c_terms * (w * plain.gains[i].detach().abs() * rstd + along * x.abs())));
    // Each product; the rows and heads of a thread, of at most one chunk; the warp, the block, and the
    // chunks, of which a warp of 32 adds every 32nd.
    const int64_t rows = inputs.shape.batch * inputs.shape.time;
    const double roundings = kRstdRoundings + 8 +
                             static_cast<double>(std::min<int64_t>(rows, 64) * inputs.shape.heads) + 5 + 8 +
                             32 + static_cast<double>(num_row_chunks(rows)) / 32.0 + 1;
    EXPECT_TRUE(compare(part == 0 ? gradients.q_gain : gradients.k_gain, plain.gains[i].grad(), roundings,
                        (c_terms * w * x.abs() * rstd).sum(at::IntArrayRef{0, 1, 2})));
  }
};

TEST_F(QkNormOnGpu, FollowsTheFormulaAndAutograd) {
  for (const at::ScalarType dtype : kDataTypes) {
    for (const Shape& shape : kShapes) {
      for (const bool is_scaled : {false, true}) {
        SCOPED_TRACE(testing::Message()
                     << c10::toString(dtype) << ", " << shape.heads << " heads of " << shape.head_dim << ", "
                     << shape.rotated << " rotated" << (is_scaled ? ", scaled" : ""));
        check(inputs_of(shape, dtype, is_scaled));
      }
    }
  }
}

TEST_F(QkNormOnGpu, GivesTheSameBitsEachTimeAndWaitsForTheCurrentStream) {
  for (const at::ScalarType dtype : kDataTypes) {
    const Shape shape = {2, 300, 12, 64, 32};
    const Inputs inputs = inputs_of(shape, dtype, /*is_scaled=*/true);
    const OnDevice given = moved(inputs);
    std::array<at::Tensor, 3> d;
    for (size_t i = 0; i < 3; ++i) d[i] = on_gpu(inputs.d[i], dtype).transpose(1, 2);
    const auto run = [&] {
      const at::Tensor qkv = late(given.qkv);
      rope_forward(qkv, given.rotation, given.num_keys, given.row_scale, given.norm);
      const QkNormGradients gradients = zero_gradients(shape);
      const at::Tensor d_row_scale = nans({2, 300, 12});
      const at::Tensor d_qkv = late(qkv);
      rope_backward(d[0], d[1], d[2], given.rotation, given.num_keys, given.row_scale, given.norm, d_qkv,
                    d_row_scale, gradients);
      return at::cat({qkv.flatten().to(at::kFloat), d_qkv.flatten().to(at::kFloat), d_row_scale.flatten(),
                      gradients.q_gain, gradients.k_gain})
          .cpu();
    };
    const at::Tensor first = run();
    EXPECT_TRUE(first.isfinite().all().item<bool>());
    EXPECT_TRUE(run().equal(first));
  }
}

TEST_F(QkNormOnGpu, HeadsThatAreTooLongAreADefect) {
  const Inputs inputs = inputs_of({1, 2, 1, 520, 520}, at::kFloat, /*is_scaled=*/false);
  const OnDevice given = moved(inputs);
  EXPECT_THROW(rope_forward(given.qkv, given.rotation, given.num_keys, given.row_scale, given.norm),
               core::InternalError);
}

}  // namespace
}  // namespace ssgpt::kernels
