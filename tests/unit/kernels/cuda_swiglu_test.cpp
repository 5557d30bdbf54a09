// The kernels of SwiGLU, on a CPU.
#include "kernels/cuda/swiglu.cuh"
#include "kernels/cuda_support.h"

#include <cmath>
#include <limits>

#include <gtest/gtest.h>

namespace ssgpt::kernels::cuda {
namespace {

template <typename T>
class CudaSwiglu : public testing::Test {};
TYPED_TEST_SUITE(CudaSwiglu, DataTypes);

// Plain formulas in fp64.
struct Expected {
  double out, d_gate, d_up;
  double d_gate_terms;  // the size of what d_gate is a difference of
};
Expected plain(double gate, double up, double d_out) {
  const double s = 1.0 / (1.0 + std::exp(-gate));
  return {.out = gate * s * up,
          .d_gate = d_out * up * s * (1.0 + gate * (1.0 - s)),
          .d_up = d_out * gate * s,
          .d_gate_terms = std::abs(d_out * up * s) * (1.0 + std::abs(gate))};
}

// Errors of fp32 beside the rounding to T, relative, in units of 2^-24 (half an ulp of a number just above a
// power of two). The sigmoid s = 1 / (1 + e): e^x is off by up to 2 ulp, of which 1 + e has no more than it
// has of e, the sum rounds, and the quotient is off by up to 2 ulp: 4 + 1 + 4.
constexpr double kSigmoidRoundings = 9;
// d_gate = d_out up s (1 + g (1 - s)), relative to |d_out up s| (1 + |g|): the factor s passes on its error,
// and in 1 - s it is |g| s times that: together at most that of s. Six operations round.
constexpr double kGateRoundings = kSigmoidRoundings + 6;

TYPED_TEST(CudaSwiglu, FollowsTheFormulaAtEveryWidth) {
  using T = TypeParam;
  for (const auto& [rows, width] :
       {Size{1, 1}, Size{3, 8}, Size{2, 264}, Size{5, 2056}, Size{2, 37}, Size{1, 2049}}) {
    const Array<T> gate_up = random_array<T>(rows * 2 * width, 3.0);
    const Array<T> d_out = random_array<T>(rows * width, 1.0);
    Array<T> out(rows * width);
    Array<T> d_gate_up(rows * 2 * width);
    swiglu_forward<T>(gate_up.data(), out.data(), rows, width, nullptr);
    swiglu_backward<T>(d_out.data(), gate_up.data(), d_gate_up.data(), rows, width, nullptr);
    for (int64_t row = 0; row < rows; ++row) {
      for (int64_t i = 0; i < width; ++i) {
        const int64_t gate = row * 2 * width + i;
        const Expected expected =
            plain(gate_up.at(gate), gate_up.at(gate + width), d_out.at(row * width + i));
        EXPECT_TRUE(near<T>(out.at(row * width + i), expected.out, kSigmoidRoundings + 2));
        EXPECT_TRUE(near<T>(d_gate_up.at(gate), expected.d_gate, kGateRoundings, expected.d_gate_terms));
        EXPECT_TRUE(near<T>(d_gate_up.at(gate + width), expected.d_up, kSigmoidRoundings + 2));
      }
    }
    Array<T> in_place = gate_up;
    swiglu_backward<T>(d_out.data(), in_place.data(), in_place.data(), rows, width, nullptr);
    EXPECT_TRUE(in_place == d_gate_up);
  }
}

// From gates whose sigmoid rounds to 1 to those whose e^-x is no number of fp32. Up to there the errors are
// those of above; beyond 1 + e^-x = 2^126 the sigmoid is taken as 0 and less than 2^-126.
TYPED_TEST(CudaSwiglu, HoldsItsErrorsForGatesOfEverySize) {
  using T = TypeParam;
  constexpr int64_t kWidth = 2400;
  Array<T> gate_up(2 * kWidth), out(kWidth), d_out(kWidth), d_gate_up(2 * kWidth);
  for (int64_t i = 0; i < kWidth; ++i) {
    gate_up.set(i, 0.1 * static_cast<double>(i - kWidth / 2));
    gate_up.set(kWidth + i, i % 2 == 0 ? 1.3 : -0.7);
    d_out.set(i, i % 3 == 0 ? 0.9 : -1.1);
  }
  swiglu_forward<T>(gate_up.data(), out.data(), 1, kWidth, nullptr);
  swiglu_backward<T>(d_out.data(), gate_up.data(), d_gate_up.data(), 1, kWidth, nullptr);
  for (int64_t i = 0; i < kWidth; ++i) {
    const double gate = gate_up.at(i);
    const Expected expected = plain(gate, gate_up.at(kWidth + i), d_out.at(i));
    if (gate < -87.0) {  // 126 log 2 = 87.3
      const double bound = 2.0 * (1.0 + std::abs(gate)) * 0x1p-126;
      EXPECT_NEAR(out.at(i), expected.out, bound) << gate;
      EXPECT_NEAR(d_gate_up.at(i), expected.d_gate, bound) << gate;
      EXPECT_NEAR(d_gate_up.at(kWidth + i), expected.d_up, bound) << gate;
      continue;
    }
    EXPECT_TRUE(near<T>(out.at(i), expected.out, kSigmoidRoundings + 2)) << gate;
    EXPECT_TRUE(near<T>(d_gate_up.at(i), expected.d_gate, kGateRoundings, expected.d_gate_terms)) << gate;
    EXPECT_TRUE(near<T>(d_gate_up.at(kWidth + i), expected.d_up, kSigmoidRoundings + 2)) << gate;
  }
}

TYPED_TEST(CudaSwiglu, ShowsValuesThatAreNotFinite) {
  using T = TypeParam;
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  constexpr int64_t kWidth = 8;
  Array<T> gate_up(2 * kWidth), out(kWidth), d_gate_up(2 * kWidth), d_out(kWidth);
  gate_up.fill(1.0);
  d_out.fill(1.0);
  gate_up.set(0, kInfinity);
  gate_up.set(1, std::nan(""));
  gate_up.set(2, -kInfinity);  // times a sigmoid of 0
  gate_up.set(kWidth + 3, std::nan(""));
  gate_up.set(4, -1e30);
  swiglu_forward<T>(gate_up.data(), out.data(), 1, kWidth, nullptr);
  swiglu_backward<T>(d_out.data(), gate_up.data(), d_gate_up.data(), 1, kWidth, nullptr);
  EXPECT_EQ(out.at(0), kInfinity);
  for (const int64_t i : {1, 2, 3}) EXPECT_TRUE(std::isnan(out.at(i))) << i;
  for (const int64_t i : {1, 2, 3}) EXPECT_TRUE(std::isnan(d_gate_up.at(i))) << i;
  EXPECT_EQ(out.at(4), 0.0);
  for (int64_t i = 5; i < kWidth; ++i)
    EXPECT_TRUE(std::isfinite(out.at(i)) && std::isfinite(d_gate_up.at(i)));
}

TYPED_TEST(CudaSwiglu, NothingIsLaunchedForNoRows) {
  for (const Size& size : {Size{0, 8}, Size{3, 0}}) {
    swiglu_forward<TypeParam>(nullptr, nullptr, size.rows, size.width, nullptr);
    swiglu_backward<TypeParam>(nullptr, nullptr, nullptr, size.rows, size.width, nullptr);
  }
}

}  // namespace
}  // namespace ssgpt::kernels::cuda
