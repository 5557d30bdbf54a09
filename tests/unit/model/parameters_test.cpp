// The flat store, initial values, counts of parameters and operations, memory.

#include "core/check.h"
#include "core/error.h"
#include "core/message_of.h"
#include "model/accounting.h"
#include "model/buffers.h"
#include "model/head.h"
#include "model/support.h"

#include <array>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <limits>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <gtest/gtest.h>

namespace ssgpt::model {
namespace {

using Kind = config::AttentionKind;

ParameterStore store_of(const GPTSpec& spec, at::ScalarType dtype = at::kFloat) {
  return {parameter_specs(spec.config, spec.sequence_length), at::kCPU, dtype};
}

// Table 1 of arXiv 2501.19399.
config::ModelConfig paper_config(Kind kind) {
  config::ModelConfig config;
  config.vocab_size = 50257;
  config.hidden_size = 768;
  config.num_hidden_layers = 12;
  config.num_attention_heads = 12;
  config.intermediate_size = 2048;
  config.attention.kind = kind;
  return config;
}

TEST(ParameterStore, NamedViewsShareTheFlatTensors) {
  ParameterStore store = store_of(small_spec(Kind::kSsmax));
  for (const Parameter& parameter : store.parameters()) {
    EXPECT_TRUE(parameter.spec.adjoins_previous || parameter.offset % 32 == 0) << parameter.spec.name;
    store.master(parameter.spec.name).fill_(2.0);
    EXPECT_EQ(store.flat_master()[parameter.offset + parameter.numel - 1].item<float>(), 2.0f);
    EXPECT_EQ(store.master(parameter.spec.name).sizes(), at::IntArrayRef(parameter.spec.shape));
  }
  EXPECT_EQ(store.flat_master().sum(at::kDouble).item<double>(),
            2.0 * static_cast<double>(store.num_parameters()));
  EXPECT_TRUE(store.flat_compute().is_same(store.flat_master()));
}

TEST(ParameterStore, MergesAdjacentMatricesAlone) {
  for (const int64_t hidden : {24, 6}) {  // 6 x 6 is no multiple of the alignment
    GPTSpec spec = small_spec(Kind::kSsmax);
    spec.config.hidden_size = hidden;
    ParameterStore store = store_of(spec);
    randomize(store, 1);
    const std::string prefix = "model.layers.1.self_attn.";
    const at::Tensor qkv = store.merged(
        store.flat_master(), {prefix + "q_proj.weight", prefix + "k_proj.weight", prefix + "v_proj.weight"});
    EXPECT_EQ(qkv.size(0), 3 * hidden);
    EXPECT_TRUE(qkv.narrow(0, 2 * hidden, hidden).equal(store.master(prefix + "v_proj.weight")));
    EXPECT_THROW(store.merged(store.flat_master(), {prefix + "q_proj.weight", prefix + "v_proj.weight"}),
                 core::InternalError);
  }
  EXPECT_THROW(store_of(small_spec(Kind::kSsmax)).find("model.layers.2.input_layernorm.weight"),
               core::InternalError);
}

TEST(ParameterStore, Bf16CopyIsTheRoundedMaster) {
  ParameterStore store = store_of(small_spec(Kind::kSsmax), at::kBFloat16);
  store.initialize(1);
  EXPECT_TRUE(store.flat_compute().equal(store.flat_master().to(at::kBFloat16)));
}

TEST(Initialization, SharedParametersDependOnTheSeedAndNotOnTheKind) {
  ParameterStore softmax = store_of(small_spec(Kind::kSoftmax));
  softmax.initialize(7);
  for (const Kind kind : all_kinds()) {
    ParameterStore other = store_of(small_spec(kind));
    other.initialize(7);
    for (const Parameter& parameter : softmax.parameters()) {
      EXPECT_TRUE(other.master(parameter.spec.name).equal(softmax.master(parameter.spec.name)));
    }
  }
  ParameterStore reseeded = store_of(small_spec(Kind::kSoftmax));
  reseeded.initialize(8);
  EXPECT_FALSE(reseeded.master("lm_head.weight").equal(softmax.master("lm_head.weight")));
}

TEST(Initialization, OfAFlatLearnedPositionKeepsTheMeanRowScale) {
  GPTSpec spec = small_spec(Kind::kLearnedPn);
  const at::Tensor log_n = [&] {
    ParameterStore store = store_of(spec);
    store.initialize(3);
    return store.master("model.ssmax_position").to(at::kDouble).clone();
  }();
  spec.config.attention.pn_init = config::PnInit::kFlat;
  ParameterStore store = store_of(spec);
  store.initialize(3);
  const at::Tensor flat = store.master("model.ssmax_position").to(at::kDouble);
  EXPECT_EQ(flat.max().item<double>(), flat.min().item<double>());
  EXPECT_NEAR(flat.mean().item<double>(), log_n.mean().item<double>(), 1e-6);  // fp32
  EXPECT_NEAR(log_n[1].item<double>(), std::log(2.0), 1e-6);
}

TEST(Initialization, HasTheMomentsOfItsDistribution) {
  GPTSpec spec = small_spec(Kind::kLearnedPn);
  spec.config.hidden_size = 96;
  spec.config.intermediate_size = 128;
  spec.config.vocab_size = 500;
  spec.config.attention.bias_init = 0.25;
  spec.config.qk_norm = config::QkNorm::kRms;
  ParameterStore store = store_of(spec);
  store.initialize(3);
  for (const Parameter& parameter : store.parameters()) {
    const std::string& name = parameter.spec.name;
    const at::Tensor values = store.master(name).to(at::kDouble);
    if (parameter.spec.shape.size() == 2) {
      const bool residual = name.ends_with("o_proj.weight") || name.ends_with("down_proj.weight");
      const double deviation = residual ? 0.02 / std::sqrt(4.0) : 0.02;
      const double count = static_cast<double>(parameter.numel);
      // Five standard errors of a mean and of a standard deviation.
      EXPECT_NEAR(values.mean().item<double>(), 0.0, 5.0 * deviation / std::sqrt(count)) << name;
      EXPECT_NEAR(values.std().item<double>(), deviation, 5.0 * deviation / std::sqrt(2.0 * count)) << name;
    } else if (name.ends_with("norm.weight")) {
      EXPECT_TRUE((values == 1.0).all().item<bool>()) << name;
    } else if (name.ends_with("ssmax_bias")) {
      EXPECT_TRUE((values == 0.25).all().item<bool>()) << name;
    } else if (name.ends_with("ssmax_scale")) {
      double mean_log = 0.0;
      for (int n = 1; n <= 11; ++n) mean_log += std::log(n) / 11.0;
      EXPECT_NEAR(values.max().item<double>(), 1.0 / mean_log, 1e-6);  // fp32
      EXPECT_EQ(values.max().item<double>(), values.min().item<double>());
    } else {
      ASSERT_EQ(name, "model.ssmax_position");
      for (int64_t i = 0; i < 11; ++i)
        EXPECT_NEAR(values[i].item<double>(), std::log(static_cast<double>(i + 1)), 2e-7);
    }
  }
}

// The two kinds start at one mean row scale, and differ in n alone.
TEST(Initialization, ATemperatureStartsAtTheMeanRowScaleOfSsmax) {
  double mean_log = 0.0;
  for (int n = 1; n <= 11; ++n) mean_log += std::log(n) / 11.0;
  const auto start_of_s = [](Kind kind, std::optional<double> scale_init) {
    GPTSpec spec = small_spec(kind);
    spec.config.attention.scale_init = scale_init;
    ParameterStore store = store_of(spec);
    store.initialize(3);
    const at::Tensor scale = store.master("model.layers.1.self_attn.ssmax_scale");
    EXPECT_TRUE(scale.eq(scale[0]).all().item<bool>());
    return scale[0].item<double>();
  };
  EXPECT_EQ(start_of_s(Kind::kSoftmaxTemperature, std::nullopt), 1.0);
  for (const double scale_init : {-0.5, 0.43, 1.0}) {
    EXPECT_EQ(start_of_s(Kind::kSsmax, scale_init), static_cast<double>(static_cast<float>(scale_init)));
    EXPECT_NEAR(start_of_s(Kind::kSoftmaxTemperature, scale_init), scale_init * mean_log, 2e-7);  // fp32
  }
}

TEST(Initialization, OnlyTheRowScalesParametersAreMarkedAsSuch) {
  for (const Kind kind : all_kinds()) {
    for (const ParameterSpec& spec : parameter_specs(small_spec(kind).config, 11)) {
      EXPECT_EQ(spec.of_row_scale, spec.name.find("ssmax_") != std::string::npos) << spec.name;
    }
  }
}

TEST(Accounting, PaperModelHasItsParametersAndOperations) {
  const int64_t softmax = count_parameters(paper_config(Kind::kSoftmax), 1024);
  // Matrices as paper.md counts them, and 25 norms of 768.
  EXPECT_EQ(softmax, 12 * (4 * 768 * 768 + 3 * 768 * 2048) + 2 * 50257 * 768 + 25 * 768);
  EXPECT_NEAR(static_cast<double>(softmax), 162.1e6, 0.05e6);
  EXPECT_EQ(count_parameters(paper_config(Kind::kSoftmaxTemperature), 1024) - softmax, 144);
  EXPECT_EQ(count_parameters(paper_config(Kind::kSsmax), 1024) - softmax, 144);
  EXPECT_EQ(count_parameters(paper_config(Kind::kSsmaxFixed), 1024), softmax);
  EXPECT_EQ(count_parameters(paper_config(Kind::kSsmaxBias), 1024) - softmax, 288);
  EXPECT_EQ(count_parameters(paper_config(Kind::kLearnedPn), 1024) - softmax, 288 + 1024);
  for (const Kind kind : all_kinds()) {
    EXPECT_NEAR(flops_per_token(paper_config(kind), 1024) / 1e6, 797.8, 0.05) << config::to_string(kind);
  }
}

// A gain a dimension of a head for q and one for k, in each layer; rotation has no parameters.
TEST(Accounting, OptionsHaveTheirParametersAndNoOperations) {
  config::ModelConfig config = paper_config(Kind::kSsmax);
  const int64_t plain = count_parameters(config, 1024);
  config.qk_norm = config::QkNorm::kRms;
  EXPECT_EQ(count_parameters(config, 1024) - plain, 12 * 2 * 64);
  config.rope_fraction = 0.25;
  config.nope_layers.layers = {3, 7, 11};
  EXPECT_EQ(count_parameters(config, 1024) - plain, 12 * 2 * 64);
  EXPECT_EQ(flops_per_token(config, 1024), flops_per_token(paper_config(Kind::kSsmax), 1024));
}

void add_bytes(const at::Tensor& tensor, int64_t& total) {
  if (tensor.defined()) total += static_cast<int64_t>(tensor.nbytes());
}

int64_t norm_bytes(const NormActivations& norm) {
  int64_t total = 0;
  for (const at::Tensor& tensor : {norm.input, norm.output, norm.rstd}) add_bytes(tensor, total);
  return total;
}

TEST(Accounting, MemoryEstimateIsWhatIsAllocated) {
  for (const auto& [dtype, qk_norm] : {std::pair(at::kFloat, config::QkNorm::kNone),
                                       {at::kBFloat16, config::QkNorm::kNone},
                                       {at::kFloat, config::QkNorm::kRms},
                                       {at::kBFloat16, config::QkNorm::kRms}}) {
    config::Config config;
    config.model = small_spec(Kind::kSsmaxBias).config;
    config.model.qk_norm = qk_norm;
    config.data.sequence_length = 128;
    config.train.micro_batch_size = 3;
    const Buffers buffers = allocate_buffers({3, 128, /*with_backward=*/true}, config.model,
                                             /*sequence_length=*/128, at::kCPU, dtype);
    int64_t total = norm_bytes(buffers.final_norm);
    for (const BlockActivations& block : buffers.blocks) {
      total += norm_bytes(block.attention_norm) + norm_bytes(block.mlp_norm);
      for (const at::Tensor& tensor :
           {block.attention.qkv, block.attention.raw, block.attention.result.out,
            block.attention.result.logsumexp, block.mlp.gate_up, block.mlp.hidden}) {
        add_bytes(tensor, total);
      }
    }
    const Scratch& scratch = buffers.scratch;
    for (const at::Tensor& tensor :
         {buffers.logits, buffers.losses, buffers.d_residual, scratch.branch, scratch.d_normed,
          scratch.attention_norm_sums, scratch.mlp_norm_sums, scratch.attention.d_row_scale,
          scratch.attention.qk_norm, scratch.attention.d_qkv, scratch.attention.workspace,
          scratch.mlp.d_hidden, scratch.mlp.weight}) {
      add_bytes(tensor, total);
    }
    total += 3 * 129 * (6 * 4 + 2 * 8);  // tokens: six batches of int32, inputs and targets of int64
    EXPECT_EQ(estimate_memory(config, dtype == at::kBFloat16, /*num_ranks=*/1).activations, total);
  }
}

TEST(Buffers, OfAForwardAloneHoldOneBlockAndNothingOfABackward) {
  config::ModelConfig model = small_spec(Kind::kSsmaxBias).config;
  model.qk_norm = config::QkNorm::kRms;
  const Buffers buffers = allocate_buffers({3, 128, /*with_backward=*/false}, model, /*sequence_length=*/128,
                                           at::kCPU, at::kBFloat16);
  EXPECT_EQ(buffers.blocks.size(), 1u);
  const Scratch& scratch = buffers.scratch;
  for (const at::Tensor& tensor :
       {buffers.d_residual, scratch.d_normed, scratch.attention_norm_sums, scratch.mlp_norm_sums,
        scratch.attention.d_heads, scratch.attention.d_qkv, scratch.attention.d_row_scale,
        scratch.attention.row_scale, scratch.attention.qk_norm, buffers.blocks.front().attention.raw,
        scratch.attention.weight, scratch.mlp.d_hidden, scratch.mlp.weight}) {
    EXPECT_FALSE(tensor.defined());
  }
  EXPECT_TRUE(scratch.branch.defined() && buffers.logits.defined());
}

TEST(Head, ChunksOfAnyLengthGiveTheSame) {
  const int64_t rows = 13;
  const int64_t hidden = 8;
  const int64_t vocab = 19;
  ParameterStore store({{"x", {rows, hidden}, {}}, {"w", {vocab, hidden}, {}}}, at::kCPU, at::kFloat);
  randomize(store, 1);
  const at::Tensor targets =
      random_batch(1, rows, vocab, 2, /*with_negative_targets=*/true).targets.view({-1});
  const auto run = [&](int64_t chunk_rows) {
    store.flat_grad().zero_();
    store.grad("w").fill_(std::numeric_limits<double>::quiet_NaN());
    const at::Tensor losses = at::empty({rows}, at::kFloat);
    const at::Tensor only = at::empty({rows}, at::kFloat);
    const at::Tensor logits = at::empty({chunk_rows, vocab}, at::kFloat);
    head_forward_backward(store.master("x"), targets, store.master("w"), vocab, losses, store.grad("x"),
                          store.grad("w"), GradientMode::kOverwrite, logits, {});
    head_forward(store.master("x"), targets, store.master("w"), vocab, only, logits);
    EXPECT_TRUE(only.equal(losses));
    return std::pair{losses, store.flat_grad().clone()};
  };
  const auto [losses, grad] = run(rows);
  for (const int64_t chunk_rows : {1, 5, 12}) {
    const auto [chunked_losses, chunked_grad] = run(chunk_rows);
    EXPECT_LT(relative_error(chunked_losses, losses), 1e-6);  // the products' sums may have another order
    EXPECT_LT(relative_error(chunked_grad, grad), 1e-6);
  }
  EXPECT_EQ(logits_chunk_rows(at::kCPU, at::kFloat, 100, 50257), 100);
  EXPECT_EQ(logits_chunk_rows(at::kCPU, at::kFloat, 100000, 50257), 512);
  EXPECT_EQ(logits_chunk_rows(at::kCPU, at::kFloat, 100000, 4096), 1024);
}

// The vocabulary's padding on a GPU, with the operations of a CPU: the rows of zeros after the weight change
// neither losses nor gradients, and nothing changes them.
TEST(Head, PaddingOfTheVocabularyIsNeverPredicted) {
  const int64_t rows = 13;
  const int64_t hidden = 8;
  const int64_t vocab = 19;
  const std::vector<ParameterSpec> plain = {{"x", {rows, hidden}, {}}, {"w", {vocab, hidden}, {}}};
  std::vector<ParameterSpec> padded = plain;
  padded.back().row_multiple = 16;
  const at::Tensor targets =
      random_batch(1, rows, vocab, 2, /*with_negative_targets=*/true).targets.view({-1});
  const auto run = [&](const std::vector<ParameterSpec>& specs) {
    ParameterStore store(specs, at::kCPU, at::kFloat);
    randomize(store, 1);
    const at::Tensor weight = store.padded(store.flat_master(), "w");
    const at::Tensor d_weight = store.padded(store.flat_grad(), "w");
    EXPECT_EQ(store.num_parameters(), (rows + vocab) * hidden);
    EXPECT_EQ(weight.size(0), specs.back().row_multiple == 1 ? 19 : 32);
    const at::Tensor losses = at::empty({rows}, at::kFloat);
    const at::Tensor logits = at::empty({rows, weight.size(0)}, at::kFloat);
    head_forward_backward(store.master("x"), targets, weight, vocab, losses, store.grad("x"), d_weight,
                          GradientMode::kAdd, logits, {});
    EXPECT_TRUE(d_weight.narrow(0, vocab, weight.size(0) - vocab).ne(0).sum().item<int64_t>() == 0);
    return std::array{losses, store.grad("x").clone(), store.grad("w").clone()};
  };
  const auto expected = run(plain);
  const auto actual = run(padded);
  // Each element of the products is a sum in an order that other columns do not change; that of the gradient
  // of x has thirteen terms of zero more.
  for (size_t i = 0; i < expected.size(); ++i) EXPECT_TRUE(actual[i].equal(expected[i])) << i;
  EXPECT_EQ(padded_vocab_size(at::kCPU, 50257), 50257);
  EXPECT_EQ(padded_vocab_size(at::kCUDA, 50257), 50304);
  EXPECT_EQ(padded_vocab_size(at::kCUDA, 50304), 50304);
}

// The meta device stands for a GPU, whatever there is on this machine.
TEST(Head, ChunksOfAGpuAreAboutEqualAndKeepBelowTheirLimit) {
  const auto rows_of = [](int64_t rows, int64_t vocab) {
    return logits_chunk_rows(at::kMeta, at::kBFloat16, rows, vocab);
  };
  EXPECT_EQ(rows_of(1, 200064), 1);
  EXPECT_EQ(rows_of(32768, 50304), 32768);  // 3.3 GB
  EXPECT_EQ(rows_of(42600, 50304), 42600);
  EXPECT_EQ(rows_of(65536, 50304), 32768);  // two, not 42,624 and the rest
  EXPECT_EQ(rows_of(85248, 50304), 42624);  // 42,690 rows would be the most
  EXPECT_EQ(rows_of(85249, 50304), 28544);  // so that these are three
  for (const int64_t rows : {1000, 42624, 42625, 85249, 100001, 262144}) {
    for (const int64_t vocab : {50304, 128256, 262144}) {
      EXPECT_LT(rows_of(rows, vocab) * vocab, int64_t{1} << 31) << rows << " " << vocab;
    }
  }
  setenv("SSGPT_HEAD_CHUNK_LOG2", "29", /*overwrite=*/1);
  EXPECT_EQ(rows_of(32768, 50304), 8192);
  EXPECT_EQ(logits_chunk_rows(at::kCPU, at::kFloat, 100000, 4096), 1024);
  setenv("SSGPT_HEAD_CHUNK_LOG2", "32", /*overwrite=*/1);
  EXPECT_EQ(message_of<core::UsageError>([&] { rows_of(32768, 50304); }),
            "The environment variable SSGPT_HEAD_CHUNK_LOG2=32 is not a whole number from 20 to 31.");
  unsetenv("SSGPT_HEAD_CHUNK_LOG2");
}

TEST(Head, ChunksTakeASixteenthOfAGpusMemory) {
  constexpr uint64_t kGiB = uint64_t{1} << 30;
  EXPECT_EQ(gpu_logits_chunk_elements(80 * kGiB, at::kBFloat16), (int64_t{1} << 31) - 1);
  EXPECT_EQ(gpu_logits_chunk_elements(80 * kGiB, at::kFloat), int64_t{5} << 28);
  EXPECT_EQ(gpu_logits_chunk_elements(24 * kGiB, at::kBFloat16), int64_t{3} << 28);
  EXPECT_EQ(gpu_logits_chunk_elements(8 * kGiB, at::kBFloat16), int64_t{1} << 29);
}

}  // namespace
}  // namespace ssgpt::model
