// Attention and GEMMs on a GPU against plain fp64 formulas.
#include "core/json_fields.h"
#include "gpu_support.h"
#include "kernels/ops.h"
#include "kernels/product_of.h"
#include "model/positions.h"
#include "model/product_tuning.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <optional>
#include <string>
#include <tuple>
#include <vector>

#include <ATen/ops/arange.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/full.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/softmax.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros.h>
#include <nlohmann/json.hpp>

namespace ssgpt::kernels {
namespace {

struct Shape {
  int64_t batch, time, heads, head_dim;
};

class AttentionOnGpu : public OnGpu,
                       public testing::WithParamInterface<std::tuple<AttentionBackend, at::ScalarType>> {
 protected:
  AttentionBackend backend() const { return std::get<0>(GetParam()); }
  at::ScalarType dtype() const { return std::get<1>(GetParam()); }

  // Euclidean norm of actual - expected, relative to that of expected.
  static double error(const at::Tensor& actual, const at::Tensor& expected) {
    const at::Tensor difference = actual.cpu().to(at::kDouble) - expected;
    return (difference.norm() / expected.norm()).item<double>();
  }

  // `documents`: n of each row of a window, or empty for whole windows.
  void compare(const Shape& shape, const std::vector<int>& documents) {
    const auto [batch, time, heads, head_dim] = shape;
    SCOPED_TRACE(testing::Message() << batch << " x " << time << " x " << heads << " x " << head_dim);
    at::Tensor n = at::arange(1, time + 1, at::kInt);
    if (!documents.empty()) {
      n = at::empty({time}, at::kInt);
      std::copy(documents.begin(), documents.end(), n.mutable_data_ptr<int>());
    }
    const at::Tensor num_keys = n.expand({batch, time}).contiguous();
    Spans spans = {.num_keys = on_gpu(num_keys), .starts = {}};
    if (!documents.empty()) {
      spans.starts = on_gpu(model::span_starts(num_keys));
      spans.longest = model::longest_span(num_keys);
    }
    const at::Tensor qkv = normal({batch, time, 3, heads, head_dim}, 1.0, dtype());
    const at::Tensor d_out = normal({batch, time, heads, head_dim}, 1.0, dtype());

    const at::Tensor qkv64 = qkv.to(at::kDouble).requires_grad_();
    const auto part = [&qkv64](int64_t index) {
      return qkv64.select(2, index).transpose(1, 2);
    };
    const at::Tensor key = at::arange(time, at::kInt).unsqueeze(0);
    const at::Tensor query = at::arange(time, at::kInt).unsqueeze(1);
    const at::Tensor hidden = (key > query).logical_or(key < query + 1 - n.unsqueeze(1));
    const at::Tensor scores =
        at::where(hidden, -std::numeric_limits<double>::infinity(),
                  at::matmul(part(0), part(1).transpose(2, 3)) / std::sqrt(static_cast<double>(head_dim)));
    const at::Tensor expected = at::matmul(at::softmax(scores, 3), part(2)).transpose(1, 2);
    expected.backward(d_out.to(at::kDouble));

    const at::Tensor on_device = on_gpu(qkv, dtype());
    AttentionResult result;
    attention_forward(on_device, spans, backend(), /*workspace=*/{}, result);
    const AttentionInputGradients gradients =
        attention_backward(on_gpu(d_out, dtype()), on_device, result, spans, backend(), {}, {});
    ASSERT_TRUE(result.out.is_contiguous());
    // bf16: weights, result and gradients are each rounded to 8 bits on the way; errors of single elements
    // are random, so the overall error is about one rounding: two are allowed. fp32: as the unit tests
    // require of the CPU.
    const double tolerance = dtype() == at::kFloat ? 1e-5 : 0x1p-7;
    EXPECT_LT(error(result.out, expected.detach()), tolerance);
    const at::Tensor d_qkv = qkv64.grad();
    const auto expect_gradient = [&](const at::Tensor& actual, int64_t index) {
      const at::Tensor whole = d_qkv.select(2, index).transpose(1, 2);
      if (whole.abs().max().item<double>() < 1e-12) {  // a single key: softmax does not depend on its score
        EXPECT_LT(actual.abs().max().item<double>(), dtype() == at::kFloat ? 1e-5 : 0x1p-6);
      } else {
        EXPECT_LT(error(actual, whole), tolerance);
      }
    };
    expect_gradient(gradients.d_q, 0);
    expect_gradient(gradients.d_k, 1);
    expect_gradient(gradients.d_v, 2);
  }
};

TEST_P(AttentionOnGpu, MatchesThePlainFormula) {
  for (const int64_t head_dim : {32, 64, 96, 128}) {
    for (const int64_t time : {1, 2, 65, 300}) compare({2, time, 3, head_dim}, {});
  }
}

TEST_P(AttentionOnGpu, StaysWithinDocuments) {
  if (backend() == AttentionBackend::kCudnn) GTEST_SKIP() << "cuDNN's is for whole windows.";
  // Documents of 1, 1, 130, 1 and 67 tokens.
  std::vector<int> n;
  for (const int length : {1, 1, 130, 1, 67}) {
    for (int i = 1; i <= length; ++i) n.push_back(i);
  }
  compare({2, 200, 2, 64}, n);
  compare({1, 3, 2, 64}, {1, 1, 1});
}

std::string variant_name(const testing::TestParamInfo<AttentionOnGpu::ParamType>& variant) {
  const auto [backend, dtype] = variant.param;
  const std::string name = backend == AttentionBackend::kCudnn   ? "cudnn"
                           : backend == AttentionBackend::kFlash ? "flash"
                                                                 : "efficient";
  return name + (dtype == at::kFloat ? "_fp32" : "_bf16");
}

INSTANTIATE_TEST_SUITE_P(Backends, AttentionOnGpu,
                         testing::Values(std::tuple{AttentionBackend::kCudnn, at::kBFloat16},
                                         std::tuple{AttentionBackend::kFlash, at::kBFloat16},
                                         std::tuple{AttentionBackend::kEfficient, at::kBFloat16},
                                         std::tuple{AttentionBackend::kEfficient, at::kFloat}),
                         variant_name);

class ProductOnGpu : public OnGpu {
 protected:
  void compare(int64_t m, int64_t n, int64_t k, at::ScalarType data, at::ScalarType out_type,
               bool a_transposed, bool b_transposed, bool accumulate) {
    SCOPED_TRACE(testing::Message() << m << " x " << k << " x " << n << " " << c10::toString(data) << " to "
                                    << c10::toString(out_type) << a_transposed << b_transposed << accumulate);
    const at::Tensor a = a_transposed ? normal({k, m}, 1.0, data).t() : normal({m, k}, 1.0, data);
    const at::Tensor b = b_transposed ? normal({n, k}, 1.0, data).t() : normal({k, n}, 1.0, data);
    const at::Tensor before = normal({m, n}, 1.0, out_type);
    const at::Tensor out = on_gpu(before, out_type);
    // .to keeps strides: a transpose stays one.
    matrix_product(on_gpu(a, data), on_gpu(b, data), accumulate, out);
    at::Tensor expected = at::matmul(a.to(at::kDouble), b.to(at::kDouble));
    at::Tensor magnitudes = at::matmul(a.to(at::kDouble).abs(), b.to(at::kDouble).abs());
    if (accumulate) {
      expected = expected + before.to(at::kDouble);
      magnitudes = magnitudes + before.to(at::kDouble).abs();
    }
    // A sum of k products in any order is off by at most k fp32 roundings.
    EXPECT_TRUE(kernels::compare(out, expected, static_cast<double>(k), magnitudes));
  }
};

TEST_F(ProductOnGpu, IsExactUpToTheRoundingsOfFp32) {
  for (const at::ScalarType data : kDataTypes) {
    for (const bool accumulate : {false, true}) {
      for (const auto& [a_transposed, b_transposed] :
           {std::pair{false, false}, std::pair{false, true}, std::pair{true, false}}) {
        for (const auto& [m, n, k] : {std::tuple{64, 96, 128}, std::tuple{1, 1, 1}, std::tuple{33, 17, 5},
                                      std::tuple{1, 300, 24}, std::tuple{257, 131, 72}}) {
          compare(m, n, k, data, at::kFloat, a_transposed, b_transposed, accumulate);
          if (data == at::kBFloat16 && !accumulate) {
            compare(m, n, k, data, at::kBFloat16, a_transposed, b_transposed, accumulate);
          }
        }
      }
    }
  }
}

// A weight gradient whose long sum is worth splitting (split-K).
class LongProductOnGpu : public ProductOnGpu {
 protected:
  static constexpr int64_t kM = 96, kN = 64, kK = 8192;
  // The last two do not end with a block of any algorithm.
  static constexpr std::array kLengths = {kK, kK + 48, int64_t{688}};

  void SetUp() override {
    ProductOnGpu::SetUp();
    if (!IsSkipped()) make_operands(kK);
  }
  void make_operands(int64_t k) {
    a_ = normal({k, kM}, 1.0, at::kBFloat16).t();
    b_ = normal({k, kN}, 1.0, at::kBFloat16);
    a_on_gpu_ = on_gpu(a_, at::kBFloat16);
    b_on_gpu_ = on_gpu(b_, at::kBFloat16);
    out_ = on_gpu(at::zeros({kM, kN}, at::kFloat));
  }
  void TearDown() override {
    if (!IsSkipped()) cuda::use_choices(std::nullopt);
    ProductOnGpu::TearDown();
  }

  cuda::Product product() const { return product_of(a_on_gpu_, b_on_gpu_, /*accumulate=*/true, out_); }
  ProductShape shape() const { return with_choice_alignment(product().shape); }

  at::Tensor workspace(const ProductTerms& terms) const {
    return at::empty({terms.workspace_bytes}, out_.options().dtype(at::kByte));
  }
  // Result on the CPU.
  at::Tensor by(const cuda::ProductPlan& plan, const ProductTerms& terms) const {
    out_.zero_();
    const at::Tensor of_plan = workspace(terms);
    cuda::multiply(product(), plan, of_plan.data_ptr(), cuda::current_stream());
    return out_.cpu();
  }
  at::Tensor by_matrix_product() const {
    out_.zero_();
    matrix_product(a_on_gpu_, b_on_gpu_, /*accumulate=*/true, out_);
    return out_.cpu();
  }

  // Partial sums are added in fp32, also in the output.
  testing::AssertionResult is_product(const at::Tensor& out) const {
    const at::Tensor expected = at::matmul(a_.to(at::kDouble), b_.to(at::kDouble));
    const at::Tensor magnitudes = at::matmul(a_.to(at::kDouble).abs(), b_.to(at::kDouble).abs());
    return kernels::compare(out, expected, static_cast<double>(a_.size(1)), magnitudes);
  }

  at::Tensor a_, b_, a_on_gpu_, b_on_gpu_, out_;
};

TEST_F(LongProductOnGpu, EveryProposalComputesTheProduct) {
  for (const int64_t k : kLengths) {
    make_operands(k);
    EXPECT_TRUE(is_product(by_matrix_product())) << k;
    for (const uint32_t reductions : {kReduceInFp32, kReduceAnyhow}) {
      const ProductTerms terms = {.workspace_bytes = int64_t{64} << 20, .reductions = reductions};
      const auto algorithms = cuda::propose(shape(), terms, /*most=*/8);
      EXPECT_GE(algorithms.size(), 1u);
      EXPECT_LE(algorithms.size(), 8u);
      for (const ProductAlgorithm& algorithm : algorithms) {
        const auto plan = cuda::make_plan(shape(), algorithm, terms);
        ASSERT_TRUE(plan);
        SCOPED_TRACE(testing::Message() << k << ": " << cuda::describe(*plan));
        EXPECT_TRUE(is_product(by(*plan, terms)));
      }
    }
  }
}

// Passes through the form in which a checkpoint stores them; tries every proposal, most of which cuBLASLt
// would not use by default.
TEST_F(LongProductOnGpu, AStoredChoiceGivesTheSameBits) {
  const ProductTerms terms = choice_terms(shape(), int64_t{64} << 20);
  for (const ProductAlgorithm& algorithm : cuda::propose(shape(), terms, /*most=*/16)) {
    const auto plan = cuda::make_plan(shape(), algorithm, terms);
    ASSERT_TRUE(plan);
    SCOPED_TRACE(cuda::describe(*plan));
    const at::Tensor expected = by(*plan, terms);
    const ProductChoices choices = {.library = cuda::product_library(),
                                    .workspace_bytes = terms.workspace_bytes,
                                    .algorithms = {{shape(), algorithm}}};
    const core::JsonFields stored("stored", nlohmann::json::parse(to_json(choices).dump()));
    cuda::use_choices(read_product_choices(stored));
    EXPECT_EQ(cuda::product_workspace_bytes(), size_t{64} << 20);
    EXPECT_TRUE(at::equal(by_matrix_product(), expected));
    EXPECT_TRUE(at::equal(by_matrix_product(), expected)) << "a plan that was made before";
  }
  cuda::use_choices(std::nullopt);
  EXPECT_EQ(cuda::product_workspace_bytes(), cuda::kProductWorkspaceBytes);
}

TEST_F(LongProductOnGpu, AnAlgorithmThatIsNoneIsRefused) {
  const ProductTerms terms = choice_terms(shape(), int64_t{32} << 20);
  ProductAlgorithm sound = cuda::propose(shape(), terms, /*most=*/1).front();
  EXPECT_TRUE(cuda::make_plan(shape(), sound, terms));
  ProductAlgorithm noise{};
  noise.fill(0x9e3779b97f4a7c15);
  EXPECT_FALSE(cuda::make_plan(shape(), noise, terms));
}

TEST_F(LongProductOnGpu, TheFastestProposalIsChosenAndComputesIt) {
  for (const int64_t k : kLengths) {
    make_operands(k);
    const ProductTerms terms = choice_terms(shape(), int64_t{32} << 20);
    const at::Tensor of_terms = workspace(terms);
    const model::TunedProduct tuned =
        model::tune_product(product(), terms, model::kTunedProposals, of_terms.data_ptr(), device());
    EXPECT_GE(tuned.proposals, 1u);
    EXPECT_LE(tuned.number, tuned.proposals);
    EXPECT_GT(tuned.seconds, 0.0);
    EXPECT_TRUE(is_product(by(*tuned.plan, terms))) << to_string(tuned);
    EXPECT_EQ(model::take_proposal(shape(), terms, /*number=*/1).number, 1u);
    EXPECT_EQ(model::take_proposal(shape(), terms, /*number=*/1).algorithm,
              cuda::propose(shape(), terms, /*most=*/1).front());
  }
}

// TF32 has a 10-bit mantissa: 1 + 2^-12 would become 1.
TEST_F(ProductOnGpu, Fp32IsNotTf32) {
  const at::Tensor a = on_gpu(at::full({64, 64}, 1.0 + 0x1p-12, at::kFloat));
  const at::Tensor out = at::empty({64, 64}, a.options());
  matrix_product(a, a, /*accumulate=*/false, out);
  const double expected = 64.0 * (1.0 + 0x1p-12) * (1.0 + 0x1p-12);
  EXPECT_NEAR(out.max().item<double>(), expected, 64.0 * 64.0 * 0x1p-24);
}

}  // namespace
}  // namespace ssgpt::kernels
