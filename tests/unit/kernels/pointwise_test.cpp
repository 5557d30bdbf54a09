// exp, RMSNorm, SwiGLU and the embedding against plain fp64 formulas.

#include "core/check.h"
#include "kernels/ops.h"
#include "kernels/support.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include <ATen/ops/arange.h>
#include <ATen/ops/embedding.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/full.h>
#include <ATen/ops/full_like.h>
#include <ATen/ops/isnan.h>
#include <ATen/ops/rsqrt.h>
#include <ATen/ops/sigmoid.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>

namespace ssgpt::kernels {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr double kEps = 1e-5;
// One row, one column, widths beside multiples of every vector length, more than one chunk of rows.
const std::vector<std::array<int64_t, 2>> kShapes = {{1, 1},   {1, 7},    {3, 16}, {5, 17},
                                                     {65, 33}, {130, 64}, {2, 768}};

// The largest error of `exp` over x, in units in the last place of the nearest number.
double worst_ulps(void (*exp)(const float*, float*, int64_t), const std::vector<float>& x) {
  std::vector<float> y(x.size());
  exp(x.data(), y.data(), static_cast<int64_t>(x.size()));
  double worst = 0.0;
  for (size_t i = 0; i < x.size(); ++i) {
    const double exact = std::exp(static_cast<double>(x[i]));
    const float nearest = static_cast<float>(exact);
    const double ulp = static_cast<double>(std::nextafter(nearest, kInfinity)) - static_cast<double>(nearest);
    worst = std::max(worst, std::abs(static_cast<double>(y[i]) - exact) / ulp);
  }
  return worst;
}

class Exp : public testing::TestWithParam<const cpu::Table*> {};

TEST_P(Exp, IsWithinTwoUnitsInTheLastPlace) {
  std::vector<float> x;
  for (float value = -87.3f; value < 88.7f; value += 0.000737f) x.push_back(value);
  for (float value = -0.01f; value < 0.01f; value += 0.0000173f) x.push_back(value);
  EXPECT_LE(worst_ulps(GetParam()->exp, x), 2.0);
  std::erase_if(x, [](float value) { return value > 88.0f; });
  EXPECT_LE(worst_ulps(GetParam()->exp_of_difference, x), 2.0);
}

TEST_P(Exp, OfADifferenceIsZeroFarBelowAndBoundedAbove) {
  const std::vector<float> x = {0.0f,       -0.0f,         -87.4f, -100.0f, -3e38f,
                                -kInfinity, std::nanf(""), 100.0f, 3e38f};
  std::vector<float> y(x.size());
  GetParam()->exp_of_difference(x.data(), y.data(), static_cast<int64_t>(x.size()));
  EXPECT_EQ(y[0], 1.0f);
  EXPECT_EQ(y[1], 1.0f);
  for (size_t i = 2; i < 6; ++i) EXPECT_EQ(y[i], 0.0f) << x[i];
  EXPECT_TRUE(std::isnan(y[6]));
  for (size_t i = 7; i < 9; ++i) EXPECT_NEAR(y[i] / std::exp(88.0), 1.0, 1e-5) << x[i];
}

TEST_P(Exp, KeepsZeroInfinityAndNan) {
  const std::vector<float> x = {0.0f,  -0.0f, kInfinity, -kInfinity, std::nanf(""),
                                89.0f, 3e38f, -104.5f,   -3e38f,     -100.0f};
  std::vector<float> y(x.size());
  GetParam()->exp(x.data(), y.data(), static_cast<int64_t>(x.size()));
  EXPECT_EQ(y[0], 1.0f);
  EXPECT_EQ(y[1], 1.0f);
  EXPECT_EQ(y[2], kInfinity);
  EXPECT_EQ(y[3], 0.0f);
  EXPECT_TRUE(std::isnan(y[4]));
  EXPECT_EQ(y[5], kInfinity);
  EXPECT_EQ(y[6], kInfinity);
  EXPECT_EQ(y[7], 0.0f);
  EXPECT_EQ(y[8], 0.0f);
  EXPECT_NEAR(y[9] / std::exp(-100.0), 1.0, 0.05);  // subnormal: few bits are left
}

INSTANTIATE_TEST_SUITE_P(Tables, Exp, testing::ValuesIn(cpu::available_tables()),
                         [](const auto& table) { return std::string(table.param->name); });

class Norm : public OpTest {
 protected:
  static at::Tensor reference(const at::Tensor& x, const at::Tensor& weight) {
    return x * at::rsqrt((x * x).mean(at::IntArrayRef{1}, /*keepdim=*/true) + kEps) * weight;
  }
};

TEST_P(Norm, ForwardMatchesTheFormula) {
  for (const auto& [rows, width] : kShapes) {
    const at::Tensor x = data({rows, width}, 3.0);
    const at::Tensor weight = data({width});
    const at::Tensor out = at::empty_like(x);
    const at::Tensor rstd = at::empty({rows}, at::kFloat);
    rms_norm_forward(x, weight, kEps, out, rstd);
    // fp32: a few roundings in each product and in the sum; bf16: the one rounding of the result on top.
    EXPECT_TRUE(is_close(out, reference(fp64(x), fp64(weight)), unit() + 1e-6, 0)) << rows << " x " << width;
  }
}

TEST_P(Norm, AddingForwardNormsTheStoredSum) {
  for (const auto& [rows, width] : kShapes) {
    const at::Tensor residual = data({rows, width});
    const at::Tensor branch = data({rows, width});
    const at::Tensor weight = data({width});
    const at::Tensor expected_sum = residual + branch;
    const at::Tensor expected = at::empty_like(residual);
    const at::Tensor rstd = at::empty({rows}, at::kFloat);
    rms_norm_forward(expected_sum, weight, kEps, expected, rstd);
    const at::Tensor out = at::empty_like(residual);
    add_rms_norm_forward(residual, branch, weight, kEps, /*sum=*/residual, out, rstd);  // in place
    EXPECT_TRUE(residual.equal(expected_sum));
    // The same arithmetic, but the compiler may order the sum of squares differently.
    EXPECT_TRUE(is_close(out, fp64(expected), 2 * unit() + 1e-6, 0));
  }
}

TEST_P(Norm, BackwardMatchesAutogradAndAdds) {
  for (const auto& [rows, width] : kShapes) {
    const at::Tensor x = data({rows, width}, 2.0);
    const at::Tensor weight = data({width});
    const at::Tensor d_out = data({rows, width});
    const at::Tensor x64 = leaf(x);
    const at::Tensor weight64 = leaf(weight);
    reference(x64, weight64).backward(fp64(d_out));

    const at::Tensor out = at::empty_like(x);
    const at::Tensor rstd = at::empty({rows}, at::kFloat);
    rms_norm_forward(x, weight, kEps, out, rstd);
    const at::Tensor d_x = data({rows, width});
    const at::Tensor d_weight = fp32({width});
    const at::Tensor expected_d_x = fp64(d_x) + x64.grad();
    const at::Tensor expected_d_weight = fp64(d_weight) + weight64.grad();
    const at::Tensor overwritten = at::full_like(d_x, std::nanf(""));
    const at::Tensor sums = at::empty({num_row_chunks(rows), width}, at::kFloat);
    rms_norm_backward(d_out, x, weight, rstd, /*accumulate=*/false, overwritten, sums);
    const at::Tensor added_to_zero = at::zeros_like(d_x);
    rms_norm_backward(d_out, x, weight, rstd, /*accumulate=*/true, added_to_zero, sums);
    EXPECT_TRUE(overwritten.equal(added_to_zero)) << rows << " x " << width;
    rms_norm_backward(d_out, x, weight, rstd, /*accumulate=*/true, d_x, sums);
    const at::Tensor other_d_weight = at::zeros({width}, at::kFloat);
    add_row_sums({{.of_chunks = sums, .total = d_weight}, {.of_chunks = sums, .total = other_d_weight}});
    EXPECT_TRUE(is_close(other_d_weight, weight64.grad(), 1e-6, 3e-6));
    // The two terms of d_x cancel, so that the error is relative to the largest; width 1 cancels fully.
    EXPECT_TRUE(is_close(d_x, expected_d_x, unit(), 3e-6)) << rows << " x " << width;
    EXPECT_TRUE(is_close(d_weight, expected_d_weight, 1e-6, 3e-6));
  }
}

TEST_P(Norm, NonFiniteRowsStayVisibleAndApart) {
  const at::Tensor x = data({3, 40});
  x[0][39].fill_(std::nanf(""));
  x[2][0].fill_(kInfinity);
  const at::Tensor out = at::empty_like(x);
  rms_norm_forward(x, data({40}), kEps, out, at::empty({3}, at::kFloat));
  EXPECT_TRUE(at::isnan(out[0]).all().item<bool>());
  EXPECT_FALSE(at::isnan(out[1]).any().item<bool>());
  EXPECT_TRUE(at::isnan(out[2][0]).item<bool>());  // inf / inf
}

TEST_P(Norm, WrongShapesAreDefects) {
  const at::Tensor x = data({3, 8});
  EXPECT_THROW(rms_norm_forward(x, data({7}), kEps, at::empty_like(x), at::empty({3}, at::kFloat)),
               core::InternalError);
  EXPECT_THROW(rms_norm_forward(x.t(), data({3}), kEps, at::empty_like(x), at::empty({8}, at::kFloat)),
               core::InternalError);
}

INSTANTIATE_TEST_SUITE_P(Variants, Norm, testing::ValuesIn(all_variants()), variant_name);

class Swiglu : public OpTest {};

TEST_P(Swiglu, MatchesTheFormulaAndAutograd) {
  for (const auto& [rows, width] : kShapes) {
    const at::Tensor gate_up = data({rows, 2 * width}, 4.0);
    const at::Tensor d_out = data({rows, width});
    const at::Tensor gate_up64 = leaf(gate_up);
    const at::Tensor gate = gate_up64.narrow(1, 0, width);
    const at::Tensor expected = gate * at::sigmoid(gate) * gate_up64.narrow(1, width, width);
    expected.backward(fp64(d_out));

    const at::Tensor out = at::empty({rows, width}, dtype());
    swiglu_forward(gate_up, out);
    EXPECT_TRUE(is_close(out, expected, unit() + 1e-6, 0));
    const at::Tensor d_gate_up = at::empty_like(gate_up);
    swiglu_backward(d_out, gate_up, d_gate_up);
    // silu'(g) = sigmoid (1 + g (1 - sigmoid)) cancels near g = -1.28, hence the absolute term.
    EXPECT_TRUE(is_close(d_gate_up, gate_up64.grad(), unit() + 1e-6, 1e-6));
    swiglu_backward(d_out, gate_up, gate_up);
    EXPECT_TRUE(gate_up.equal(d_gate_up)) << "in place";
  }
}

TEST_P(Swiglu, LargeAndNonFiniteGates) {
  const at::Tensor gate_up = at::full({1, 40}, 2.0f, at::kFloat).to(dtype());
  gate_up[0][0].fill_(200.0f);
  gate_up[0][1].fill_(-200.0f);
  gate_up[0][2].fill_(std::nanf(""));
  gate_up[0][23].fill_(std::nanf(""));
  const at::Tensor out = at::empty({1, 20}, dtype());
  swiglu_forward(gate_up, out);
  const at::Tensor values = out.to(at::kFloat)[0];
  EXPECT_EQ(values[0].item<float>(), 400.0f);
  EXPECT_EQ(values[1].item<float>(), 0.0f);
  EXPECT_TRUE(std::isnan(values[2].item<float>()));
  EXPECT_TRUE(std::isnan(values[3].item<float>()));
  EXPECT_FALSE(std::isnan(values[4].item<float>()));
}

INSTANTIATE_TEST_SUITE_P(Variants, Swiglu, testing::ValuesIn(all_variants()), variant_name);

class Embedding : public OpTest {};

TEST_P(Embedding, LooksUpAndSumsRepeatedTokens) {
  for (const int64_t width : {1, 7, 64, 200}) {
    const at::Tensor table = data({11, width});
    const at::Tensor tokens = at::arange(50, at::kLong).mul(7).remainder(5);  // 0 to 4, ten times each
    const at::Tensor out = at::empty({50, width}, dtype());
    embedding_forward(tokens, table, out);
    EXPECT_TRUE(out.equal(at::embedding(table, tokens)));

    const at::Tensor table64 = leaf(table);
    const at::Tensor d_out = data({50, width});
    at::embedding(table64, tokens).backward(fp64(d_out));
    const at::Tensor d_table = at::zeros({11, width}, at::kFloat);
    embedding_backward(tokens, d_out, d_table);
    EXPECT_TRUE(is_close(d_table, table64.grad(), 1e-6, 1e-6));  // ten additions in fp32
  }
}

TEST_P(Embedding, TokenBeyondTheVocabularyIsADefect) {
  const at::Tensor out = at::empty({1, 4}, dtype());
  for (const int64_t token : {int64_t{11}, int64_t{-1}}) {
    EXPECT_THROW(embedding_forward(at::full({1}, token, at::kLong), data({11, 4}), out), core::InternalError);
  }
}

INSTANTIATE_TEST_SUITE_P(Variants, Embedding, testing::ValuesIn(all_variants()), variant_name);

}  // namespace
}  // namespace ssgpt::kernels
