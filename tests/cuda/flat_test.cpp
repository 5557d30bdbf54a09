// Operations on flat tensors on a GPU.
#include "gpu_support.h"
#include "kernels/ops.h"

#include <array>
#include <cmath>
#include <limits>

#include <ATen/TensorOperators.h>
#include <ATen/ops/full.h>
#include <ATen/ops/zeros.h>
#include <c10/util/Exception.h>

namespace ssgpt::kernels {
namespace {

class FlatOnGpu : public OnGpu {
 protected:
  static at::Tensor factor(double value) { return on_gpu(at::full({1}, value, at::kFloat)); }
};

// Around the sizes of vectors, blocks and chunks; the last one takes many of each.
constexpr std::array<int64_t, 9> kSizes = {0, 1, 3, 31, 1025, 65536, 65537, 200'003, 5'000'001};

TEST_F(FlatOnGpu, SumsAreThoseOfDoubles) {
  for (const int64_t size : kSizes) {
    const at::Tensor x = normal({size});
    const at::Tensor x64 = x.to(at::kDouble);
    // The GPU's threads, blocks and chunks round each term fewer than 200 times, as do the CPU's pairwise
    // sums.
    const double tolerance = 400 * 0x1p-53;
    EXPECT_NEAR(flat_sum(on_gpu(x)).item<double>(), x64.sum().item<double>(),
                tolerance * x64.abs().sum().item<double>());
    const double squares = x64.square().sum().item<double>();
    EXPECT_NEAR(squared_norm(on_gpu(x)).item<double>(), squares, tolerance * squares);
  }
}

TEST_F(FlatOnGpu, SumsHaveTheSameBitsWhereverTheTensorBegins) {
  const int64_t size = 5'000'001;
  const at::Tensor x = on_gpu(normal({size}));
  const double sum = flat_sum(x).item<double>();
  const double squares = squared_norm(x).item<double>();
  for (const int64_t shift : {0, 1, 2, 3}) {
    const at::Tensor moved = at::zeros({size + shift}, x.options()).narrow(0, shift, size);
    moved.copy_(x);
    EXPECT_EQ(flat_sum(moved).item<double>(), sum);
    EXPECT_EQ(squared_norm(moved).item<double>(), squares);
  }
}

constexpr double kLr = 1e-2, kBeta1 = 0.9, kBeta2 = 0.95, kEps = 1e-8, kDecay = 0.1;

// fp32 tensors and the bf16 copy as parts of larger ones: the moments are not aligned to vectors.
struct State {
  at::Tensor w, grad, m, v, bf16_copy;
  void update(int64_t step, const at::Tensor& grad_factor) const {
    adamw_update(w, grad, m, v, bf16_copy,
                 {{.begin = 0, .moment = 0, .size = w.numel(), .lr = kLr, .weight_decay = kDecay}},
                 {.beta1 = kBeta1, .beta2 = kBeta2, .eps = kEps}, step, grad_factor);
  }
};

// The fp64 update from the previous state, and the size of the terms of its differences.
struct Expected {
  Expected(const State& before, double factor, int64_t step) {
    const auto fp64 = [](const at::Tensor& x) {
      return x.cpu().to(at::kDouble);
    };
    const at::Tensor g = fp64(before.grad) * factor;
    m = kBeta1 * fp64(before.m) + (1 - kBeta1) * g;
    v = kBeta2 * fp64(before.v) + (1 - kBeta2) * g * g;
    const auto t = static_cast<double>(step);
    const at::Tensor per_m =
        kLr / (1 - std::pow(kBeta1, t)) / ((v / (1 - std::pow(kBeta2, t))).sqrt() + kEps);
    w = fp64(before.w) * (1 - kLr * kDecay) - per_m * m;
    terms_of_m = fp64(before.m).abs() + g.abs();
    terms_of_w = fp64(before.w).abs() + per_m * terms_of_m;
  }
  at::Tensor w, m, v, terms_of_m, terms_of_w;
};

TEST_F(FlatOnGpu, AdamwFollowsTheFormulaAndFillsTheBf16Copy) {
  const double factor_value = static_cast<double>(0.01f);
  for (const int64_t size : kSizes) {
    for (const int64_t shift : {0, 1}) {
      SCOPED_TRACE(testing::Message() << size << " from " << shift);
      const auto moved = [&](const at::Tensor& x) {
        const at::Tensor whole = at::zeros({size + shift}, x.options().device(device()));
        whole.narrow(0, shift, size).copy_(x);
        return whole.narrow(0, shift, size);
      };
      const State state = {.w = on_gpu(normal({size}, 0.02)),
                           .grad = on_gpu(normal({size}, 100.0)),
                           .m = moved(normal({size})),
                           .v = moved(normal({size}).abs()),
                           .bf16_copy = on_gpu(at::zeros({size}, at::kBFloat16))};
      for (int64_t step = 1; step <= 3; ++step) {
        const Expected expected(state, factor_value, step);
        state.update(step, factor(0.01));
        // m is a difference: g, the difference, the sum and the coefficient round. v adds positive terms: g
        // twice, two products, the sum and two coefficients. w inherits the errors of m and half those of v,
        // and rounds five times itself, with four coefficients.
        EXPECT_TRUE(compare(state.m, expected.m, 4, expected.terms_of_m));
        EXPECT_TRUE(compare(state.v, expected.v, 7));
        EXPECT_TRUE(compare(state.w, expected.w, 17, expected.terms_of_w));
        EXPECT_TRUE(state.bf16_copy.equal(state.w.to(at::kBFloat16)));
      }
    }
  }
}

TEST_F(FlatOnGpu, AdamwGivesTheSameBitsWhereverTheMomentsBeginAndWithoutABf16Copy) {
  const int64_t size = 100'003;
  const at::Tensor w = normal({size}, 0.02);
  const at::Tensor grad = on_gpu(normal({size}));
  const State plain = {.w = on_gpu(w),
                       .grad = grad,
                       .m = at::zeros({size}, grad.options()),
                       .v = at::zeros({size}, grad.options()),
                       .bf16_copy = on_gpu(w, at::kBFloat16)};
  const State moved = {.w = on_gpu(w),
                       .grad = grad,
                       .m = at::zeros({size + 3}, grad.options()).narrow(0, 3, size),
                       .v = at::zeros({size + 1}, grad.options()).narrow(0, 1, size),
                       .bf16_copy = {}};
  for (int64_t step = 1; step <= 3; ++step) {
    plain.update(step, factor(0.5));
    moved.update(step, factor(0.5));
  }
  EXPECT_TRUE(plain.w.equal(moved.w) && plain.m.equal(moved.m) && plain.v.equal(moved.v));
}

TEST_F(FlatOnGpu, AdamwChangesNothingWhereTheFactorIsNotFinite) {
  const int64_t size = 10'003;
  const State state = {.w = on_gpu(normal({size})),
                       .grad = on_gpu(normal({size})),
                       .m = on_gpu(normal({size})),
                       .v = on_gpu(normal({size}).abs()),
                       .bf16_copy = on_gpu(normal({size}), at::kBFloat16)};
  const State before = {state.w.clone(), state.grad.clone(), state.m.clone(), state.v.clone(),
                        state.bf16_copy.clone()};
  for (const double bad : {std::nan(""), std::numeric_limits<double>::infinity()}) {
    state.update(3, factor(bad));
    EXPECT_TRUE(state.w.equal(before.w) && state.m.equal(before.m) && state.v.equal(before.v) &&
                state.bf16_copy.equal(before.bf16_copy));
  }
}

TEST_F(FlatOnGpu, TakesMoreElementsThanA32BitIndexHas) {
  const int64_t size = (int64_t{1} << 31) + 5;
  State state;
  try {
    const at::TensorOptions fp32 = at::TensorOptions(device()).dtype(at::kFloat);
    state = {at::zeros({size}, fp32), at::zeros({size}, fp32), at::zeros({size}, fp32),
             at::zeros({size}, fp32), at::zeros({size}, fp32.dtype(at::kBFloat16))};
  } catch (const c10::OutOfMemoryError&) {
    GTEST_SKIP() << "This GPU has no room for 39 GB.";
  }
  const at::Tensor last = state.grad.narrow(0, size - 1, 1);
  last.fill_(3.0);
  EXPECT_EQ(flat_sum(state.grad).item<double>(), 3.0);
  EXPECT_EQ(squared_norm(state.grad).item<double>(), 9.0);
  state.update(1, factor(1.0));
  // The first update has size lr whatever the gradient; the others have none.
  EXPECT_NEAR(state.w[size - 1].item<double>(), -kLr, 2e-8);
  EXPECT_EQ(squared_norm(state.w.narrow(0, 0, size - 1)).item<double>(), 0.0);
  EXPECT_TRUE(state.bf16_copy.narrow(0, size - 1, 1).equal(state.w.narrow(0, size - 1, 1).to(at::kBFloat16)));
}

}  // namespace
}  // namespace ssgpt::kernels
