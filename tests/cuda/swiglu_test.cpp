// SwiGLU on a GPU, forward and backward, against the plain formula and autograd in fp64.
#include "kernels/ops.h"
#include "op_support.h"

#include <array>
#include <cmath>
#include <limits>

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/full.h>
#include <ATen/ops/sigmoid.h>

namespace ssgpt::kernels {
namespace {

struct Size {
  int64_t rows, width;
};

// No row, one and many; one column; widths next to vector multiples; rows of one block and of several.
constexpr std::array kSizes = {Size{0, 8},   Size{1, 1},    Size{3, 8},    Size{2, 37},   Size{5, 4},
                               Size{2, 264}, Size{5, 2056}, Size{1, 2049}, Size{7, 2730}, Size{300, 3072}};

class SwigluOnGpu : public OpOnGpu {
 protected:
  static at::Tensor plain(const at::Tensor& gate_up) {
    const int64_t width = gate_up.size(1) / 2;
    const at::Tensor gate = gate_up.narrow(1, 0, width);
    return gate * at::sigmoid(gate) * gate_up.narrow(1, width, width);
  }
};

TEST_F(SwigluOnGpu, FollowsTheFormulaAndAutogradAtEveryWidth) {
  for (const at::ScalarType dtype : kDataTypes) {
    for (const auto& [rows, width] : kSizes) {
      SCOPED_TRACE(testing::Message() << c10::toString(dtype) << ", " << rows << " x " << width);
      const at::Tensor gate_up = normal({rows, 2 * width}, 3.0, dtype);
      const at::Tensor d_out = normal({rows, width}, 1.0, dtype);
      const at::Tensor on_device = on_gpu(gate_up, dtype);
      const at::Tensor out = nans({rows, width}, dtype);
      swiglu_forward(on_device, out);
      const at::Tensor gate_up64 = leaf(gate_up);
      const at::Tensor expected = plain(gate_up64);
      // sigmoid: 4 (2 ulp) for e^x, the sum, 4 for the quotient; two products.
      EXPECT_TRUE(compare(out, expected, 9 + 2));

      const at::Tensor d_gate_up = nans({rows, 2 * width}, dtype);
      swiglu_backward(on_gpu(d_out, dtype), on_device, d_gate_up);
      EXPECT_TRUE(fp64(on_device).equal(fp64(gate_up)));
      expected.backward(fp64(d_out));
      const at::Tensor gradient = gate_up64.grad();
      const at::Tensor gate = fp64(gate_up).narrow(1, 0, width);
      const at::Tensor up = fp64(gate_up).narrow(1, width, width);
      // 1 + g (1 - s) may cancel: its terms are 1 + |g| at most, with the error of s of 9, and their sum is
      // rounded. In addition three products and s.
      const at::Tensor terms = (fp64(d_out) * up * at::sigmoid(gate)).abs() * (1.0 + gate.abs());
      EXPECT_TRUE(compare(d_gate_up.narrow(1, 0, width), gradient.narrow(1, 0, width), 9 + 1 + 3 + 9, terms));
      EXPECT_TRUE(compare(d_gate_up.narrow(1, width, width), gradient.narrow(1, width, width), 9 + 2));

      swiglu_backward(on_gpu(d_out, dtype), on_device, /*d_gate_up=*/on_device);
      EXPECT_TRUE(on_device.equal(d_gate_up));
    }
  }
}

TEST_F(SwigluOnGpu, LargeGatesAreNoMatterAndNanStaysWhereItIs) {
  constexpr int64_t kWidth = 20;
  for (const at::ScalarType dtype : kDataTypes) {
    const at::Tensor gate_up = at::full({1, 2 * kWidth}, 2.0, at::TensorOptions(device()).dtype(dtype));
    gate_up[0][0].fill_(200.0);
    gate_up[0][1].fill_(-200.0);
    gate_up[0][2].fill_(std::nan(""));
    gate_up[0][kWidth + 3].fill_(std::nan(""));
    gate_up[0][4].fill_(std::numeric_limits<double>::infinity());
    const at::Tensor out = nans({1, kWidth}, dtype);
    swiglu_forward(gate_up, out);
    EXPECT_EQ(out[0][0].item<float>(), 400.0f);
    EXPECT_EQ(out[0][1].item<float>(), 0.0f);
    EXPECT_TRUE(out[0].narrow(0, 2, 2).isnan().all().item<bool>());
    EXPECT_EQ(out[0][4].item<float>(), std::numeric_limits<float>::infinity());
    EXPECT_TRUE(out[0].narrow(0, 5, kWidth - 5).isfinite().all().item<bool>());

    swiglu_backward(at::full({1, kWidth}, 3.0, gate_up.options()), gate_up, gate_up);
    // silu' is 1 far above 0 and 0 far below; `up` is 2 and d_out 3.
    EXPECT_EQ(gate_up[0][0].item<float>(), 6.0f);
    EXPECT_EQ(gate_up[0][1].item<float>(), 0.0f);
    EXPECT_EQ(gate_up[0][kWidth].item<float>(), 600.0f);
    EXPECT_EQ(gate_up[0][kWidth + 1].item<float>(), 0.0f);
    EXPECT_TRUE(gate_up[0].narrow(0, 2, 2).isnan().all().item<bool>());
    // The gradient of `up` does not depend on `up`.
    EXPECT_TRUE(gate_up[0][kWidth + 2].isnan().item<bool>());
    EXPECT_TRUE(gate_up[0].narrow(0, kWidth + 5, kWidth - 5).isfinite().all().item<bool>());
    EXPECT_TRUE(gate_up[0][kWidth + 3].isfinite().item<bool>());
  }
}

TEST_F(SwigluOnGpu, WaitsForTheCurrentStream) {
  for (const at::ScalarType dtype : kDataTypes) {
    const at::Tensor gate_up = on_gpu(normal({300, 6144}, 3.0), dtype);
    const at::Tensor d_out = on_gpu(normal({300, 3072}), dtype);
    const at::Tensor expected_out = nans({300, 3072}, dtype);
    const at::Tensor expected_gradient = nans({300, 6144}, dtype);
    swiglu_forward(gate_up, expected_out);
    swiglu_backward(d_out, gate_up, expected_gradient);
    const at::Tensor out = nans({300, 3072}, dtype);
    const at::Tensor gradient = nans({300, 6144}, dtype);
    swiglu_forward(late(gate_up), out);
    EXPECT_TRUE(out.equal(expected_out));
    swiglu_backward(late(d_out), gate_up, gradient);
    EXPECT_TRUE(gradient.equal(expected_gradient));
  }
}

}  // namespace
}  // namespace ssgpt::kernels
