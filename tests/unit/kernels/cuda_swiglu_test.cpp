// The kernels of SwiGLU, on a CPU.
#include "kernels/cuda/swiglu.cuh"
#include "kernels/cuda_support.h"

#include <cmath>

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
        // One rounding to T, and a few of fp32 in e^x, quotient and products.
        EXPECT_TRUE(near<T>(out.at(row * width + i), expected.out, 8));
        EXPECT_TRUE(near<T>(d_gate_up.at(gate), expected.d_gate, 8, expected.d_gate_terms));
        EXPECT_TRUE(near<T>(d_gate_up.at(gate + width), expected.d_up, 8));
      }
    }
    Array<T> in_place = gate_up;
    swiglu_backward<T>(d_out.data(), in_place.data(), in_place.data(), rows, width, nullptr);
    EXPECT_TRUE(in_place == d_gate_up);
  }
}

TYPED_TEST(CudaSwiglu, NothingIsLaunchedForNoRows) {
  for (const Size& size : {Size{0, 8}, Size{3, 0}}) {
    swiglu_forward<TypeParam>(nullptr, nullptr, size.rows, size.width, nullptr);
    swiglu_backward<TypeParam>(nullptr, nullptr, nullptr, size.rows, size.width, nullptr);
  }
}

}  // namespace
}  // namespace ssgpt::kernels::cuda
