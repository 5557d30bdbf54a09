// RMSNorm on a GPU, forward and backward, against plain formulas and autograd in fp64.
#include "core/check.h"
#include "kernels/ops.h"
#include "op_support.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/remainder.h>
#include <ATen/ops/rsqrt.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros_like.h>

namespace ssgpt::kernels {
namespace {

constexpr double kEps = 1e-5;

struct Size {
  int64_t rows, width;
};

// No rows, one and many; one column; widths next to vector multiples; rows of 1 to 16 warps; partial chunks
// of rows; more chunks than a block adds at once; the widest rows with vectors and without.
constexpr std::array kSizes = {Size{0, 8},    Size{1, 1},     Size{3, 7},     Size{9, 8},
                               Size{130, 40}, Size{65, 33},   Size{67, 768},  Size{5, 770},
                               Size{3, 2056}, Size{17, 1028}, Size{2, 4095},  Size{2, 4096},
                               Size{2, 8192}, Size{66, 264},  Size{4800, 40}, Size{5000, 33}};

// Roundings of a product in the sum over a row, including its own, on the longest path: a lane adds at most
// 32 elements, a warp 5 times and the row's 16 warps 16 times.
double sum_roundings(int64_t width) {
  return static_cast<double>(std::min<int64_t>(width, 32)) + 5 + 16 + 1;
}

class NormOnGpu : public OpOnGpu {
 protected:
  // fp64 (rows, 1).
  static at::Tensor plain_rstd(const at::Tensor& x) {
    return at::rsqrt(x.square().mean(at::IntArrayRef{1}, /*keepdim=*/true) + kEps);
  }

  // On the CPU, rounded to `dtype`. In some rows eps is not small relative to the values.
  at::Tensor rows_of(const Size& size, at::ScalarType dtype) {
    const at::Tensor x = normal({size.rows, size.width}, 3.0, dtype);
    const at::Tensor is_small = at::remainder(at::arange(size.rows), 4) == 1;
    return at::where(is_small.unsqueeze(1), x * 0x1p-9, x);
  }

  // Checks out and rstd for x.   x, weight: on the CPU.
  static void expect_norm(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& out,
                          const at::Tensor& rstd) {
    const at::Tensor r = plain_rstd(fp64(x));
    // The square root halves the error of the sum, the division, eps and its addition; root and quotient have
    // one rounding each.
    const double roundings = (sum_roundings(x.size(1)) + 3) / 2 + 2;
    EXPECT_TRUE(compare(rstd, r.squeeze(1), roundings));
    EXPECT_TRUE(compare(out, fp64(x) * r * fp64(weight), roundings + 2));  // plus two products
  }
};

TEST_F(NormOnGpu, ForwardFollowsTheFormula) {
  for (const at::ScalarType dtype : kDataTypes) {
    for (const Size& size : kSizes) {
      SCOPED_TRACE(testing::Message() << c10::toString(dtype) << ", " << size.rows << " x " << size.width);
      const at::Tensor x = rows_of(size, dtype);
      const at::Tensor weight = normal({size.width}, 1.0, dtype);
      const at::Tensor out = nans(x.sizes(), dtype);
      const at::Tensor rstd = nans({size.rows});
      rms_norm_forward(on_gpu(x, dtype), on_gpu(weight, dtype), kEps, out, rstd);
      expect_norm(x, weight, out, rstd);
    }
  }
}

// The norm applies to the sum as it is stored, that is, rounded.
TEST_F(NormOnGpu, AddForwardNormalizesTheRoundedSumAlsoInPlace) {
  for (const at::ScalarType dtype : kDataTypes) {
    for (const Size& size : kSizes) {
      SCOPED_TRACE(testing::Message() << c10::toString(dtype) << ", " << size.rows << " x " << size.width);
      const at::Tensor residual = rows_of(size, dtype);
      const at::Tensor branch = rows_of(size, dtype);
      const at::Tensor weight = normal({size.width}, 1.0, dtype);
      const at::Tensor expected_sum = (residual + branch).to(dtype);
      const at::Tensor sum = nans(residual.sizes(), dtype);
      const at::Tensor out = nans(residual.sizes(), dtype);
      const at::Tensor rstd = nans({size.rows});
      add_rms_norm_forward(on_gpu(residual, dtype), on_gpu(branch, dtype), on_gpu(weight, dtype), kEps, sum,
                           out, rstd);
      EXPECT_TRUE(sum.cpu().equal(expected_sum));
      expect_norm(expected_sum, weight, out, rstd);

      const at::Tensor in_place = on_gpu(residual, dtype);
      const at::Tensor out_in_place = nans(residual.sizes(), dtype);
      const at::Tensor rstd_in_place = nans({size.rows});
      add_rms_norm_forward(in_place, on_gpu(branch, dtype), on_gpu(weight, dtype), kEps, /*sum=*/in_place,
                           out_in_place, rstd_in_place);
      EXPECT_TRUE(in_place.equal(sum) && out_in_place.equal(out) && rstd_in_place.equal(rstd));
    }
  }
}

struct Gradients {
  at::Tensor d_x, d_weight;
};

// On the CPU; data rounded to the dtype.
struct BackwardInputs {
  at::Tensor d_out, x, weight, rstd, d_x, d_weight;
  at::ScalarType dtype;
};

class NormBackwardOnGpu : public NormOnGpu {
 protected:
  BackwardInputs inputs_of(const Size& size, at::ScalarType dtype) {
    const at::Tensor x = rows_of(size, dtype);
    return {.d_out = normal({size.rows, size.width}, 1.0, dtype),
            .x = x,
            .weight = normal({size.width}, 1.0, dtype),
            .rstd = plain_rstd(fp64(x)).squeeze(1).to(at::kFloat),
            .d_x = normal({size.rows, size.width}, 1.0, dtype),
            .d_weight = normal({size.width}),
            .dtype = dtype};
  }

  static Gradients run(const BackwardInputs& inputs, bool accumulate = true) {
    const at::ScalarType dtype = inputs.dtype;
    const Gradients result = {.d_x = on_gpu(inputs.d_x, dtype), .d_weight = on_gpu(inputs.d_weight)};
    const at::Tensor sums = nans({num_row_chunks(inputs.x.size(0)), inputs.x.size(1)});
    rms_norm_backward(on_gpu(inputs.d_out, dtype), on_gpu(inputs.x, dtype), on_gpu(inputs.weight, dtype),
                      on_gpu(inputs.rstd), accumulate, result.d_x, sums);
    // Two sums at once, of which the first is unrelated.
    add_row_sums({{.of_chunks = sums, .total = result.d_weight.clone()},
                  {.of_chunks = sums, .total = result.d_weight}});
    return result;
  }
};

TEST_F(NormBackwardOnGpu, AddsTheGradientOfTheFormula) {
  for (const at::ScalarType dtype : kDataTypes) {
    for (const Size& size : kSizes) {
      SCOPED_TRACE(testing::Message() << c10::toString(dtype) << ", " << size.rows << " x " << size.width);
      const BackwardInputs inputs = inputs_of(size, dtype);
      const Gradients actual = run(inputs);
      const at::Tensor x = leaf(inputs.x);
      const at::Tensor weight = leaf(inputs.weight);
      const at::Tensor d_out = fp64(inputs.d_out);
      (x * plain_rstd(x) * weight).backward(d_out);

      // The gradient is a difference: roundings are relative to the size of its terms.
      const at::Tensor x_size = fp64(inputs.x).abs();
      const at::Tensor r = plain_rstd(fp64(inputs.x));
      const at::Tensor weighted = (d_out * fp64(inputs.weight)).abs();
      const at::Tensor along_x = (weighted * x_size).sum(at::IntArrayRef{1}, /*keepdim=*/true) * r.pow(3) /
                                 static_cast<double>(size.width) * x_size;
      const at::Tensor d_x = fp64(inputs.d_x);
      // The dot product with its second product, four factors on it and the roundings of three rstd, the
      // product with x, the difference, the sum.
      EXPECT_TRUE(compare(actual.d_x, d_x + x.grad(), sum_roundings(size.width) + 1 + 4 + 3 + 1 + 2,
                          d_x.abs() + weighted * r + along_x));

      const at::Tensor d_weight = fp64(inputs.d_weight);
      const int64_t chunks = num_row_chunks(size.rows);
      // Two products and rstd; the rows of a chunk, the 8 groups of a block; the chunks of a warp, the warps,
      // the sum with the previous value.
      const int64_t roundings = 3 + std::min<int64_t>(size.rows, 64) + 8 + chunks / 32 + 32 + 1;
      EXPECT_TRUE(compare(actual.d_weight, d_weight + weight.grad(), static_cast<double>(roundings),
                          d_weight.abs() + (d_out.abs() * x_size * r).sum(0)));
    }
  }
}

TEST_F(NormBackwardOnGpu, OverwritesAsIfItAddedToZero) {
  for (const at::ScalarType dtype : kDataTypes) {
    for (const Size& size : kSizes) {
      BackwardInputs inputs = inputs_of(size, dtype);
      inputs.d_x.zero_();
      const Gradients added = run(inputs);
      inputs.d_x.fill_(std::nan(""));
      const Gradients overwritten = run(inputs, /*accumulate=*/false);
      EXPECT_TRUE(overwritten.d_x.equal(added.d_x) && overwritten.d_weight.equal(added.d_weight));
    }
  }
}

TEST_F(NormBackwardOnGpu, GivesTheSameBitsEveryTime) {
  for (const at::ScalarType dtype : kDataTypes) {
    for (const Size& size : {Size{4800, 40}, Size{2100, 770}, Size{700, 8192}}) {
      const BackwardInputs inputs = inputs_of(size, dtype);
      const Gradients first = run(inputs);
      for (int i = 0; i < 3; ++i) {
        const Gradients again = run(inputs);
        EXPECT_TRUE(again.d_x.equal(first.d_x) && again.d_weight.equal(first.d_weight));
      }
    }
  }
}

// A non-finite value affects its row, and its column of d_weight, but nothing else.
TEST_F(NormBackwardOnGpu, NanAndInfinitySpoilTheirRowAlone) {
  constexpr int64_t kRow = 7, kColumn = 5;
  for (const at::ScalarType dtype : kDataTypes) {
    for (const double bad : {std::nan(""), std::numeric_limits<double>::infinity()}) {
      BackwardInputs inputs = inputs_of({20, 768}, dtype);
      const auto forward = [&] {
        const at::Tensor out = nans(inputs.x.sizes(), dtype);
        rms_norm_forward(on_gpu(inputs.x, dtype), on_gpu(inputs.weight, dtype), kEps, out, nans({20}));
        return out;
      };
      const auto without = [](const at::Tensor& whole, int64_t i) {
        return at::cat({whole.narrow(0, 0, i), whole.narrow(0, i + 1, whole.size(0) - i - 1)});
      };
      const at::Tensor clean_out = forward();
      const Gradients clean = run(inputs);
      inputs.x[kRow][kColumn].fill_(bad);
      const at::Tensor out = forward();
      const Gradients actual = run(inputs);
      EXPECT_TRUE(out[kRow][kColumn].isnan().item<bool>());
      EXPECT_TRUE(without(out, kRow).equal(without(clean_out, kRow)));
      EXPECT_FALSE(actual.d_x[kRow].isfinite().any().item<bool>());
      EXPECT_TRUE(without(actual.d_x, kRow).equal(without(clean.d_x, kRow)));
      EXPECT_FALSE(actual.d_weight[kColumn].isfinite().item<bool>());
      EXPECT_TRUE(without(actual.d_weight, kColumn).equal(without(clean.d_weight, kColumn)));
    }
  }
}

TEST_F(NormBackwardOnGpu, WaitsForTheCurrentStream) {
  const Size size = {300, 768};
  for (const at::ScalarType dtype : kDataTypes) {
    const BackwardInputs inputs = inputs_of(size, dtype);
    const at::Tensor x = on_gpu(inputs.x, dtype);
    const at::Tensor d_out = on_gpu(inputs.d_out, dtype);
    const at::Tensor weight = on_gpu(inputs.weight, dtype);
    const at::Tensor given_rstd = on_gpu(inputs.rstd);
    const at::Tensor zero = at::zeros_like(x);
    const at::Tensor sum = nans(x.sizes(), dtype);
    const at::Tensor out = nans(x.sizes(), dtype);
    const at::Tensor rstd = nans({size.rows});
    rms_norm_forward(late(x), weight, kEps, out, rstd);
    expect_norm(inputs.x, inputs.weight, out, rstd);
    out.fill_(std::nan(""));
    add_rms_norm_forward(late(x), zero, weight, kEps, sum, out, rstd);
    expect_norm(inputs.x, inputs.weight, out, rstd);

    const Gradients expected = run(inputs);
    const Gradients actual = {.d_x = on_gpu(inputs.d_x, dtype), .d_weight = on_gpu(inputs.d_weight)};
    const at::Tensor scratch = nans({num_row_chunks(size.rows), size.width});
    rms_norm_backward(late(d_out), x, weight, given_rstd, /*accumulate=*/true, actual.d_x, scratch);
    add_row_sums({{.of_chunks = scratch, .total = actual.d_weight}});
    EXPECT_TRUE(actual.d_x.equal(expected.d_x) && actual.d_weight.equal(expected.d_weight));
  }
}

TEST_F(NormOnGpu, WiderRowsThanRegistersHoldAreADefect) {
  const auto forward = [&](int64_t width, at::ScalarType dtype) {
    const at::Tensor x = nans({2, width}, dtype);
    rms_norm_forward(x, x[0], kEps, nans({2, width}, dtype), nans({2}));
  };
  for (const at::ScalarType dtype : kDataTypes) {
    EXPECT_THROW(forward(4097, dtype), core::InternalError);
    EXPECT_THROW(forward(8200, dtype), core::InternalError);
  }
}

}  // namespace
}  // namespace ssgpt::kernels
