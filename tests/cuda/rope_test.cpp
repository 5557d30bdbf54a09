// RoPE and the row scale of attention on a GPU, forward and backward, against plain formulas and autograd in
// fp64.
#include "kernels/ops.h"
#include "op_support.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/copysign.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <ATen/ops/log.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/outer.h>
#include <ATen/ops/pow.h>
#include <ATen/ops/remainder.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros_like.h>

namespace ssgpt::kernels {
namespace {

constexpr int64_t kPositions = 9;

struct Shape {
  int64_t batch, time, heads, head_dim;
};

// Heads of whole vectors and not; longer than a warp's vectors; more rows than a block takes; heads that one
// thread handles in several turns.
constexpr std::array kShapes = {Shape{1, 1, 1, 2},    Shape{2, 5, 3, 6},   Shape{1, 70, 1, 2},
                                Shape{1, 3, 12, 64},  Shape{2, 3, 2, 32},  Shape{1, 2, 5, 80},
                                Shape{1, 2, 3, 96},   Shape{2, 9, 4, 128}, Shape{1, 2, 1, 256},
                                Shape{1, 3, 1, 512},  Shape{1, 2, 2, 130}, Shape{3, 1, 16, 1024},
                                Shape{2, 300, 12, 64}};

// Members of the row scale.
enum class Parts { kNone, kPosition, kScale, kScaleAndBias };
constexpr std::array kAllParts = {Parts::kNone, Parts::kPosition, Parts::kScale, Parts::kScaleAndBias};

// On the CPU; data rounded to the dtype.
struct Inputs {
  Shape shape;
  at::ScalarType dtype;
  at::Tensor qkv, cos, sin, num_keys;
  RowScale row_scale;
};

// x (B, T, N, H) rotated by the angles, fp64.   cos, sin: (T, 1, H), both halves alike.
at::Tensor rotated(const at::Tensor& x, const at::Tensor& cos, const at::Tensor& sin) {
  const int64_t half = x.size(3) / 2;
  const at::Tensor turned = at::cat({-x.narrow(3, half, half), x.narrow(3, 0, half)}, 3);
  return x * cos + turned * sin;
}

// Size of the two terms of each rotated element of x, forward or back.
at::Tensor terms_of(const at::Tensor& x, const at::Tensor& cos, const at::Tensor& sin) {
  const int64_t half = x.size(3) / 2;
  const at::Tensor turned = at::cat({x.narrow(3, half, half), x.narrow(3, 0, half)}, 3);
  return (x * cos).abs() + (turned * sin).abs();
}

class RopeOnGpu : public OpOnGpu {
 protected:
  Inputs inputs_of(const Shape& shape, at::ScalarType dtype, Parts parts) {
    const auto [batch, time, heads, head_dim] = shape;
    const at::Tensor index = at::arange(0, head_dim, 2, at::kDouble) / static_cast<double>(head_dim);
    const at::Tensor angle = at::outer(at::arange(time, at::kDouble), at::pow(10000.0, -index));
    Inputs inputs = {.shape = shape,
                     .dtype = dtype,
                     .qkv = normal({batch, time, 3, heads, head_dim}, 1.0, dtype),
                     .cos = angle.cos().to(at::kFloat),
                     .sin = angle.sin().to(at::kFloat),
                     // restarts at 1, as with document masking
                     .num_keys = at::remainder(at::arange(batch * time), 7).add(1).view({batch, time}),
                     .row_scale = {}};
    // log 1 is 0: without a bias, c is 0 where n is 1.
    if (parts != Parts::kNone)
      inputs.row_scale.position = at::log(at::arange(1, kPositions + 1)).to(at::kFloat);
    if (parts >= Parts::kScale) inputs.row_scale.scale = normal({heads});
    if (parts == Parts::kScaleAndBias) inputs.row_scale.bias = normal({heads});
    return inputs;
  }

  static RowScale on_gpu(const RowScale& row_scale) {
    const auto moved = [](const at::Tensor& x) {
      return x.defined() ? OnGpu::on_gpu(x) : x;
    };
    return {moved(row_scale.position), moved(row_scale.scale), moved(row_scale.bias)};
  }
  using OnGpu::on_gpu;

  static at::Tensor num_keys_on_gpu(const Inputs& inputs) { return on_gpu(inputs.num_keys, at::kInt); }
};

// The result of rope on the inputs, fp64 on the CPU, with autograd for the backward.
struct Plain {
  explicit Plain(const Inputs& inputs) {
    const auto [batch, time, heads, head_dim] = inputs.shape;
    const auto both_halves = [](const at::Tensor& table) {
      return at::cat({table, table}, 1).unsqueeze(1).to(at::kDouble);
    };
    cos = both_halves(inputs.cos);
    sin = both_halves(inputs.sin);
    c = at::ones({batch, time, heads}, at::kDouble);
    c_terms = c.abs();
    const RowScale& row_scale = inputs.row_scale;
    if (!row_scale.identity()) {
      c = row_scale.position.to(at::kDouble).index_select(0, inputs.num_keys.view({-1}) - 1);
      c = c.view({batch, time, 1}).expand({batch, time, heads});
      if (row_scale.scale.defined()) c = c * row_scale.scale.to(at::kDouble);
      c_terms = c.abs();
      if (row_scale.bias.defined()) {
        c = c + row_scale.bias.to(at::kDouble);
        c_terms = c_terms + row_scale.bias.to(at::kDouble).abs();
      }
      c = at::where(c.abs() < 1e-20, at::copysign(at::full({}, 1e-20, at::kDouble), c), c);
      c_terms = c_terms.clamp_min(1e-20);
    }
    c = c.contiguous().requires_grad_();
    qkv = inputs.qkv.to(at::kDouble).requires_grad_();
    q = rotated(qkv.select(2, 0), cos, sin) * c.unsqueeze(3);
    k = rotated(qkv.select(2, 1), cos, sin);
  }
  at::Tensor part(int64_t index) const { return qkv.detach().select(2, index); }

  at::Tensor cos, sin;    // (T, 1, H)
  at::Tensor c, c_terms;  // (B, T, N): the row scale, and the size of its terms
  at::Tensor qkv;         // (B, T, 3, N, H)
  at::Tensor q, k;        // (B, T, N, H)
};

TEST_F(RopeOnGpu, ForwardFollowsTheFormula) {
  for (const at::ScalarType dtype : kDataTypes) {
    for (const Shape& shape : kShapes) {
      for (const Parts parts : kAllParts) {
        SCOPED_TRACE(testing::Message() << c10::toString(dtype) << ", " << shape.heads << " heads of "
                                        << shape.head_dim << ", row scale " << static_cast<int>(parts));
        const Inputs inputs = inputs_of(shape, dtype, parts);
        const at::Tensor qkv = on_gpu(inputs.qkv, dtype);
        rope_forward(qkv, {on_gpu(inputs.cos), on_gpu(inputs.sin)}, num_keys_on_gpu(inputs),
                     on_gpu(inputs.row_scale), {});
        const Plain plain(inputs);
        // Products and their sum; for q also the factor: its product, sum and smallest value are rounded.
        EXPECT_TRUE(compare(qkv.select(2, 0), plain.q, 6,
                            terms_of(plain.part(0), plain.cos, plain.sin) * plain.c_terms.unsqueeze(3)));
        EXPECT_TRUE(compare(qkv.select(2, 1), plain.k, 2, terms_of(plain.part(1), plain.cos, plain.sin)));
        EXPECT_TRUE(fp64(qkv.select(2, 2)).equal(plain.part(2)));
      }
    }
  }
}

// Memory layout of a gradient (B, N, T, H): as a separate tensor, in the order of (B, T, N, H), in the
// gradient of all three, (B, T, 3, N, H); and in the order of (B, T, N, H) where vector loads are not all
// allowed: one extra element after each head, row or window, or one before the first.
enum class Layout { kHeadsFirst, kTimeFirst, kOfThree, kOddHeads, kOddRows, kOddWindows, kOddStart };

at::Tensor laid_out(const at::Tensor& gradient, Layout layout) {
  const at::TensorOptions options = gradient.options();
  const int64_t batch = gradient.size(0);
  const int64_t heads = gradient.size(1);
  const int64_t time = gradient.size(2);
  const int64_t head_dim = gradient.size(3);
  const int64_t row = heads * head_dim;
  at::Tensor view;  // (B, T, N, H)
  switch (layout) {
    case Layout::kHeadsFirst:
      return gradient.contiguous();
    case Layout::kTimeFirst:
      view = at::empty({batch, time, heads, head_dim}, options);
      break;
    case Layout::kOfThree:
      view = at::empty({batch, time, 3, heads, head_dim}, options).select(2, 1);
      break;
    case Layout::kOddHeads:
      view = at::empty({batch, time, heads, head_dim + 1}, options).narrow(3, 0, head_dim);
      break;
    case Layout::kOddRows:
      view = at::empty({batch, time, row + 1}, options).narrow(2, 0, row).unflatten(2, {heads, head_dim});
      break;
    case Layout::kOddWindows:
      view = at::empty({batch, time * row + 1}, options)
                 .narrow(1, 0, time * row)
                 .unflatten(1, {time, heads, head_dim});
      break;
    case Layout::kOddStart:
      view = at::empty({batch * time * row + 1}, options)
                 .narrow(0, 1, batch * time * row)
                 .view({batch, time, heads, head_dim});
      break;
  }
  view = view.transpose(1, 2);
  view.copy_(gradient);
  return view;
}

struct Layouts {
  Layout d_q, d_k, d_v;
};
// Vector loads where heads allow them, and the layouts that prevent them.
constexpr std::array kLayouts = {Layouts{Layout::kTimeFirst, Layout::kHeadsFirst, Layout::kOfThree},
                                 Layouts{Layout::kHeadsFirst, Layout::kOfThree, Layout::kTimeFirst},
                                 Layouts{Layout::kOddHeads, Layout::kTimeFirst, Layout::kTimeFirst},
                                 Layouts{Layout::kTimeFirst, Layout::kOddRows, Layout::kTimeFirst},
                                 Layouts{Layout::kTimeFirst, Layout::kTimeFirst, Layout::kOddWindows},
                                 Layouts{Layout::kOddStart, Layout::kHeadsFirst, Layout::kOfThree},
                                 Layouts{Layout::kHeadsFirst, Layout::kOddStart, Layout::kOfThree},
                                 Layouts{Layout::kHeadsFirst, Layout::kTimeFirst, Layout::kOddStart}};

class RopeBackwardOnGpu : public RopeOnGpu {
 protected:
  // The gradient of c, from the queries as rope_forward stored them, fp64 (B, T, N, H).
  static void expect_row_scale_gradient(const at::Tensor& actual, const Inputs& inputs, const Plain& plain,
                                        const at::Tensor& d_q, const at::Tensor& stored_q) {
    const at::Tensor is_first = inputs.num_keys.unsqueeze(2) == 1;
    const auto but_first = [&](const at::Tensor& x) {
      return at::where(is_first, at::zeros_like(x), x);
    };
    const at::Tensor c = plain.c.detach();
    // A lane adds at most 2 H / 32 products, or those of two vectors, each rounded, the warp 5 sums; the
    // quotient.
    const double roundings = 16.0 + static_cast<double>(inputs.shape.head_dim) / 16.0 + 5 + 1;
    const at::Tensor products = d_q * stored_q;
    EXPECT_TRUE(compare(actual, but_first(products.sum(3) / c), roundings + 3,  // and three of c
                        but_first(products.abs().sum(3) * plain.c_terms / c.square())));
    // Relative to the queries before they were stored: rounded to the dtype, after 4 fp32 roundings. The c
    // that multiplied them is the one that divides.
    const double stored = unit_roundoff(inputs.dtype) / unit_roundoff(at::kFloat);
    EXPECT_TRUE(compare(actual, but_first(plain.c.grad()), roundings + stored + 4,
                        but_first((d_q.abs() * terms_of(plain.part(0), plain.cos, plain.sin)).sum(3))));
    EXPECT_TRUE(fp64(actual).masked_select(is_first).eq(0.0).all().item<bool>());  // exactly
  }

  void check(const Inputs& inputs, const Layouts& layouts) {
    const auto [batch, time, heads, head_dim] = inputs.shape;
    const at::ScalarType dtype = inputs.dtype;
    const bool is_scaled = !inputs.row_scale.identity();
    const auto gradient = [&] {
      return normal({batch, heads, time, head_dim}, 1.0, dtype);
    };
    const std::array<at::Tensor, 3> d = {gradient(), gradient(), gradient()};
    const auto laid_on_gpu = [&](int64_t part, Layout layout) {
      return laid_out(on_gpu(d[static_cast<size_t>(part)], dtype), layout);
    };
    const at::Tensor cos = on_gpu(inputs.cos);
    const at::Tensor sin = on_gpu(inputs.sin);
    const at::Tensor num_keys = num_keys_on_gpu(inputs);
    const RowScale row_scale = on_gpu(inputs.row_scale);
    const at::Tensor qkv = on_gpu(inputs.qkv, dtype);
    rope_forward(qkv, {cos, sin}, num_keys, row_scale, {});
    const at::Tensor stored_q = fp64(qkv.select(2, 0));
    const at::Tensor d_row_scale = is_scaled ? nans({batch, time, heads}) : at::Tensor();
    rope_backward(laid_on_gpu(0, layouts.d_q), laid_on_gpu(1, layouts.d_k), laid_on_gpu(2, layouts.d_v),
                  {cos, sin}, num_keys, row_scale, {}, qkv, d_row_scale, {});

    const auto time_first = [&](size_t part) {
      return d[part].to(at::kDouble).transpose(1, 2);
    };
    const Plain plain(inputs);
    ((plain.q * time_first(0)).sum() + (plain.k * time_first(1)).sum()).backward();
    const at::Tensor expected = plain.qkv.grad();
    const auto terms = [&](size_t part) {
      return terms_of(time_first(part), plain.cos, plain.sin);
    };
    // As in the forward pass.
    EXPECT_TRUE(compare(qkv.select(2, 0), expected.select(2, 0), 6, terms(0) * plain.c_terms.unsqueeze(3)));
    EXPECT_TRUE(compare(qkv.select(2, 1), expected.select(2, 1), 2, terms(1)));
    EXPECT_TRUE(fp64(qkv.select(2, 2)).equal(time_first(2)));
    if (is_scaled) expect_row_scale_gradient(d_row_scale, inputs, plain, time_first(0), stored_q);
  }
};

TEST_F(RopeBackwardOnGpu, FollowsAutogradWhateverTheStrides) {
  for (const at::ScalarType dtype : kDataTypes) {
    for (const Shape& shape : kShapes) {
      for (const Parts parts : kAllParts) {
        for (const Layouts& layouts : kLayouts) {
          SCOPED_TRACE(testing::Message() << c10::toString(dtype) << ", " << shape.heads << " heads of "
                                          << shape.head_dim << ", row scale " << static_cast<int>(parts)
                                          << ", layouts " << static_cast<int>(layouts.d_q)
                                          << static_cast<int>(layouts.d_k) << static_cast<int>(layouts.d_v));
          check(inputs_of(shape, dtype, parts), layouts);
        }
      }
    }
  }
}

TEST_F(RopeBackwardOnGpu, NumbersOfKeysWithoutAPositionMakeTheirQueriesNan) {
  constexpr std::array<int, 4> kNumKeys = {0, -7, kPositions + 1, kPositions};
  for (const at::ScalarType dtype : kDataTypes) {
    for (const int64_t head_dim : {int64_t{6}, int64_t{64}}) {
      for (const Parts parts : {Parts::kPosition, Parts::kScaleAndBias}) {
        const Inputs inputs = inputs_of({1, 4, 2, head_dim}, dtype, parts);
        for (int64_t t = 0; t < 4; ++t) inputs.num_keys[0][t].fill_(kNumKeys[static_cast<size_t>(t)]);
        const at::Tensor cos = on_gpu(inputs.cos);
        const at::Tensor sin = on_gpu(inputs.sin);
        const at::Tensor num_keys = num_keys_on_gpu(inputs);
        const RowScale row_scale = on_gpu(inputs.row_scale);
        const at::Tensor forward = on_gpu(inputs.qkv, dtype);
        const at::Tensor backward = forward.clone();
        const at::Tensor d = on_gpu(normal({1, 2, 4, head_dim}), dtype);
        const at::Tensor d_row_scale = nans({1, 4, 2}).zero_();
        rope_forward(forward, {cos, sin}, num_keys, row_scale, {});
        rope_backward(d, d, d, {cos, sin}, num_keys, row_scale, {}, backward, d_row_scale, {});
        at::Tensor is_bad = (at::arange(4) < 3).view({1, 4, 1, 1, 1});
        is_bad = is_bad.logical_and((at::arange(3) == 0).view({1, 1, 3, 1, 1})).expand_as(forward);
        EXPECT_TRUE(forward.cpu().isnan().equal(is_bad) && backward.cpu().isnan().equal(is_bad));
        EXPECT_TRUE(d_row_scale.cpu().isnan().equal(is_bad.select(2, 0).select(3, 0)));
      }
    }
  }
}

TEST_F(RopeBackwardOnGpu, WaitsForTheCurrentStream) {
  for (const at::ScalarType dtype : kDataTypes) {
    const Inputs inputs = inputs_of({2, 300, 12, 64}, dtype, Parts::kScale);
    const at::Tensor cos = on_gpu(inputs.cos);
    const at::Tensor sin = on_gpu(inputs.sin);
    const at::Tensor num_keys = num_keys_on_gpu(inputs);
    const RowScale row_scale = on_gpu(inputs.row_scale);
    const at::Tensor given = on_gpu(inputs.qkv, dtype);
    const at::Tensor d = on_gpu(normal({2, 12, 300, 64}), dtype);
    const at::Tensor d_row_scale = nans({2, 300, 12});
    at::Tensor qkv = late(given);
    rope_forward(qkv, {cos, sin}, num_keys, row_scale, {});
    const Plain plain(inputs);
    EXPECT_TRUE(compare(qkv.select(2, 0), plain.q, 6,
                        terms_of(plain.part(0), plain.cos, plain.sin) * plain.c_terms.unsqueeze(3)));
    const at::Tensor expected = qkv.clone();
    const at::Tensor expected_d_row_scale = nans({2, 300, 12});
    rope_backward(d, d, d, {cos, sin}, num_keys, row_scale, {}, expected, expected_d_row_scale, {});
    qkv = late(qkv);
    rope_backward(d, d, d, {cos, sin}, num_keys, row_scale, {}, qkv, d_row_scale, {});
    EXPECT_TRUE(qkv.equal(expected) && d_row_scale.equal(expected_d_row_scale));
  }
}

}  // namespace
}  // namespace ssgpt::kernels
