// The whole model on a GPU against the reference of the unit tests, in fp64 on the CPU.
#include "gpu_support.h"
#include "model/decoder.h"
#include "model/gpt.h"
#include "model/reference.h"
#include "model/support.h"

#include <cstring>
#include <limits>
#include <string>
#include <tuple>
#include <vector>

#include <ATen/Context.h>
#include <ATen/ops/zeros.h>
#include <c10/cuda/CUDAFunctions.h>

namespace ssgpt::model {
namespace {

using Backend = kernels::AttentionBackend;

at::Tensor host(const at::Tensor& x) {
  return x.cpu();
}

// Head dim 8, the smallest that cuDNN and flash attention support; nothing else is a multiple of a vector.
GPTSpec spec_of(const Variant& variant) {
  GPTSpec spec = variant.spec();
  spec.config.intermediate_size = 21;
  return spec;
}

class ModelOnGpu : public kernels::OnGpu,
                   public testing::WithParamInterface<std::tuple<Variant, at::ScalarType, Backend>> {
 protected:
  GPTSpec spec() const { return spec_of(std::get<0>(GetParam())); }
  Execution execution() const {
    return {
        .device = device(), .dtype = std::get<1>(GetParam()), .attention_backend = std::get<2>(GetParam())};
  }
  at::Tensor zero() const { return at::zeros({1}, at::TensorOptions(device()).dtype(at::kDouble)); }

  // Fills a model on the GPU with the parameters of the unit tests.
  static void fill(GPT& gpt, uint64_t seed = 5) {
    const GPTSpec& spec = gpt.spec();
    ParameterStore values(parameter_specs(spec.config, spec.sequence_length), at::kCPU, at::kFloat);
    randomize(values, seed);
    for (const Parameter& parameter : values.parameters()) {
      gpt.parameters().master(parameter.spec.name).copy_(values.master(parameter.spec.name));
    }
    gpt.parameters().refresh_compute();
  }

  // The weights that the model computes with: rounded to its dtype, except s, b and p_n.
  static ParameterStore rounded(const GPT& gpt) {
    const GPTSpec& spec = gpt.spec();
    ParameterStore store(parameter_specs(spec.config, spec.sequence_length), at::kCPU, at::kFloat);
    for (const Parameter& parameter : store.parameters()) {
      const std::string& name = parameter.spec.name;
      const bool is_fp32 = name.find("ssmax") != std::string::npos;
      store.master(name).copy_(is_fp32 ? gpt.parameters().master(name) : gpt.parameters().compute(name));
    }
    return store;
  }

  // Runs a model's backward on the GPU, next to the reference with its rounded weights.
  template <typename Body>
  void run(uint64_t seed, const Batch& batch, const Body& body) {
    GPT gpt(spec(), execution());
    fill(gpt, seed);
    const ParameterStore weights = rounded(gpt);
    const Reference exact(gpt.spec(), weights, at::kDouble);
    const at::Tensor expected = exact.losses(batch.tokens, batch.targets).sum();
    expected.backward();
    const at::Tensor loss_sum = zero();
    gpt.forward_backward(batch.tokens, batch.targets, loss_sum);
    const double tolerance = execution().dtype == at::kFloat ? 1e-5 : 2e-2;
    EXPECT_NEAR(host(loss_sum).item<double>(), expected.item<double>(), tolerance * expected.item<double>());
    const at::Tensor padding = gpt.parameters().padded(gpt.parameters().flat_grad(), "lm_head.weight");
    const int64_t vocab_size = gpt.spec().config.vocab_size;
    EXPECT_EQ(host(padding.narrow(0, vocab_size, padding.size(0) - vocab_size).ne(0).sum()).item<int64_t>(),
              0);
    body(gpt, weights, exact);
  }

  // fp32: as the unit tests require of the CPU.
  void compare_float32(const Batch& batch) {
    run(5, batch, [&](GPT& gpt, const ParameterStore& weights, const Reference& exact) {
      EXPECT_LT(relative_error(host(gpt.logits(batch.tokens)), exact.logits(batch.tokens)), kFp32Tolerance);
      EXPECT_LT(relative_error(host(gpt.token_losses(batch.tokens, batch.targets)),
                               exact.losses(batch.tokens, batch.targets)),
                kFp32Tolerance);
      for (const Parameter& parameter : weights.parameters()) {
        const std::string& name = parameter.spec.name;
        EXPECT_LT(relative_error(host(gpt.parameters().grad(name)), exact.grad(name)), kFp32GradientTolerance)
            << name;
      }
    });
  }

  void compare_bfloat16() {
    Bfloat16Errors errors;
    for (const auto& [seed, batch] : bfloat16_draws()) {
      run(seed, batch, [&, &batch = batch](GPT& gpt, const ParameterStore& weights, const Reference& exact) {
        const Reference plain(gpt.spec(), weights, at::kBFloat16);
        plain.losses(batch.tokens, batch.targets).sum().backward();
        errors.add(exact, plain, weights, batch, [&](const std::string& name) {
          if (name == "logits") return host(gpt.logits(batch.tokens));
          return host(name == "losses" ? gpt.token_losses(batch.tokens, batch.targets)
                                       : gpt.parameters().grad(name));
        });
      });
    }
    errors.expect_as_small_as_plain();
  }
};

TEST_P(ModelOnGpu, MatchesTheSpecification) {
  if (execution().dtype == at::kBFloat16) return compare_bfloat16();
  for (const Batch& batch : specification_batches()) compare_float32(batch);
}

TEST_P(ModelOnGpu, TokenScoresAreThoseOfTheLogits) {
  Execution reading = execution();
  reading.for_training = false;
  GPT gpt(spec(), reading);
  fill(gpt);
  const Batch batch = random_batch(40, 11, 7, 1, /*with_negative_targets=*/true);
  const at::Tensor logits = host(gpt.logits(batch.tokens)).contiguous();
  const int64_t vocab_size = logits.size(2);
  const at::Tensor choices = logits.argmax(2);
  int64_t* targets = batch.targets.mutable_data_ptr<int64_t>();
  for (int64_t i = 0; i < batch.targets.numel(); i += 2) {
    if (targets[i] >= 0) targets[i] = choices.const_data_ptr<int64_t>()[i];
  }
  const TokenScores scores = gpt.token_scores(batch.tokens, batch.targets);
  EXPECT_TRUE(host(scores.losses).equal(host(gpt.token_losses(batch.tokens, batch.targets))));
  const at::Tensor correct = host(scores.correct);
  int64_t right = 0;
  for (int64_t i = 0; i < batch.targets.numel(); ++i) {
    const float* row = logits.const_data_ptr<float>() + i * vocab_size;
    bool expected = targets[i] >= 0;
    for (int64_t v = 0; expected && v < vocab_size; ++v) {
      expected = v == targets[i] || row[targets[i]] > row[v];
    }
    EXPECT_EQ(correct.const_data_ptr<bool>()[i], expected) << i;
    right += expected;
  }
  EXPECT_GT(right, 100);
}

TEST_P(ModelOnGpu, TakesAnotherThetaAndAFactorOfTheScores) {
  GPTSpec changed = spec();
  changed.config.rope_theta = 500000.0;
  changed.rope_change.score_factor = 1.5;
  Execution reading = execution();
  reading.for_training = false;
  GPT gpt(changed, reading);
  fill(gpt);
  EXPECT_FALSE(gpt.parameters().flat_grad().defined());
  const ParameterStore weights = rounded(gpt);
  const Batch batch = random_batch(3, 11, 7, 1);
  const at::Tensor expected = Reference(changed, weights, at::kDouble).losses(batch.tokens, batch.targets);
  const at::Tensor plain = Reference(changed, weights, reading.dtype).losses(batch.tokens, batch.targets);
  const double least = reading.dtype == at::kFloat ? 1e-5 : 0x1p-8;  // as in compare()
  EXPECT_LT(relative_error(host(gpt.token_losses(batch.tokens, batch.targets)), expected),
            2.0 * relative_error(plain, expected) + least);
}

TEST_P(ModelOnGpu, AStepDoesNotWaitForTheDevice) {
  GPT gpt(spec(), execution());
  fill(gpt);
  const Batch batch = random_batch(3, 11, 7, 1);
  const at::Tensor loss_sum = zero();
  for (int warm_up = 0; warm_up < 2; ++warm_up) gpt.forward_backward(batch.tokens, batch.targets, loss_sum);
  c10::cuda::warning_state().set_sync_debug_mode(c10::cuda::SyncDebugMode::L_ERROR);
  EXPECT_NO_THROW(gpt.forward_backward(batch.tokens, batch.targets, loss_sum));
  EXPECT_NO_THROW(
      gpt.forward_backward(batch.tokens, batch.targets, loss_sum, nullptr, {}, GradientMode::kOverwrite));
  c10::cuda::warning_state().set_sync_debug_mode(c10::cuda::SyncDebugMode::L_DISABLED);
}

TEST_P(ModelOnGpu, DeterministicModeRepeatsBitForBit) {
  if (execution().attention_backend == Backend::kCudnn)
    GTEST_SKIP() << "cuDNN's backward is not deterministic.";
  at::globalContext().setDeterministicAlgorithms(true, /*warn_only=*/false);
  at::globalContext().setDeterministicFillUninitializedMemory(false);
  const Batch batch = random_batch(4, 11, 7, 10);
  const Batch other = random_batch(1, 5, 7, 11);
  GPT gpt(spec(), execution());
  fill(gpt);
  gpt.forward_backward(batch.tokens, batch.targets, zero());
  const at::Tensor first = host(gpt.parameters().flat_grad()).clone();
  gpt.token_losses(other.tokens, other.targets);  // another shape in between must have no effect
  gpt.parameters().flat_grad().fill_(std::numeric_limits<double>::quiet_NaN());
  gpt.forward_backward(batch.tokens, batch.targets, zero(), nullptr, {}, GradientMode::kOverwrite);
  const at::Tensor second = host(gpt.parameters().flat_grad());
  EXPECT_EQ(std::memcmp(first.const_data_ptr(), second.const_data_ptr(), first.nbytes()), 0);
  at::globalContext().setDeterministicAlgorithms(false, /*warn_only=*/false);
}

TEST_P(ModelOnGpu, DecodingGivesTheLogitsOfTheFullForward) {
  GPT gpt(spec(), execution());
  fill(gpt);
  const Batch batch = random_batch(1, 11, 7, 2);
  ASSERT_EQ(batch.tokens.eq(3).sum().item<int64_t>(), 2) << "no documents end in it";
  const at::Tensor expected = host(gpt.logits(batch.tokens));
  const int64_t* tokens = batch.tokens.const_data_ptr<int64_t>();
  Decoder decoder(gpt, /*batch=*/2, /*capacity=*/11);
  at::Tensor logits = decoder.prefill({tokens, 4});
  // Both paths round their intermediates to the dtype, in different places.
  const double tolerance = execution().dtype == at::kFloat ? 1e-5 : 0x1p-5;
  for (int64_t t = 4; t <= 11; ++t) {
    for (int64_t sequence = 0; sequence < 2; ++sequence) {
      EXPECT_LT(relative_error(host(logits[sequence]), expected[0][t - 1]), tolerance) << t;
    }
    if (t < 11) logits = decoder.step(std::vector<int64_t>(2, tokens[t]));
  }
}

std::string variant_name(const testing::TestParamInfo<ModelOnGpu::ParamType>& variant) {
  const auto [options, dtype, backend] = variant.param;
  std::string name = to_string(options);
  name += dtype == at::kFloat ? "_fp32" : "_bf16";
  return name + (backend == Backend::kCudnn   ? "_cudnn"
                 : backend == Backend::kFlash ? "_flash"
                                              : "_efficient");
}

// Each kind alone, and pairs of options.
std::vector<Variant> all_variants(bool with_documents) {
  std::vector<Variant> variants = plain_variants();
  for (const Variant& variant : variants_of_options()) variants.push_back(variant);
  if (!with_documents) std::erase_if(variants, [](const Variant& variant) { return variant.documents; });
  return variants;
}

INSTANTIATE_TEST_SUITE_P(Fp32, ModelOnGpu,
                         testing::Combine(testing::ValuesIn(all_variants(/*with_documents=*/true)),
                                          testing::Values(at::kFloat), testing::Values(Backend::kEfficient)),
                         variant_name);
INSTANTIATE_TEST_SUITE_P(Bf16, ModelOnGpu,
                         testing::Combine(testing::ValuesIn(all_variants(/*with_documents=*/true)),
                                          testing::Values(at::kBFloat16),
                                          testing::Values(Backend::kFlash, Backend::kEfficient)),
                         variant_name);
INSTANTIATE_TEST_SUITE_P(Bf16Cudnn, ModelOnGpu,
                         testing::Combine(testing::ValuesIn(all_variants(/*with_documents=*/false)),
                                          testing::Values(at::kBFloat16), testing::Values(Backend::kCudnn)),
                         variant_name);

}  // namespace
}  // namespace ssgpt::model
