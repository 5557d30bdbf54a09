// The estimate of a GPU's memory against the tensors that the model would allocate there. They are made on
// the meta device, which has sizes and no memory, and which the model treats as it does every device that is
// not a CPU.
#include "kernels/cuda/product.h"
#include "model/accounting.h"
#include "model/buffers.h"
#include "model/head.h"
#include "model/support.h"

#include <bit>
#include <cstdint>
#include <initializer_list>

#include <gtest/gtest.h>

namespace ssgpt::model {
namespace {

using Kind = config::AttentionKind;

int64_t bytes(std::initializer_list<at::Tensor> tensors) {
  int64_t total = 0;
  for (const at::Tensor& tensor : tensors) {
    if (tensor.defined()) total += static_cast<int64_t>(tensor.nbytes());
  }
  return total;
}

int64_t bytes_of(const NormActivations& norm) {
  return bytes({norm.input, norm.output, norm.rstd});
}

int64_t bytes_of(const Buffers& buffers) {
  int64_t total = bytes_of(buffers.final_norm);
  for (const BlockActivations& block : buffers.blocks) {
    total += bytes_of(block.attention_norm) + bytes_of(block.mlp_norm);
    total += bytes({block.attention.qkv, block.attention.raw, block.attention.result.out,
                    block.attention.result.logsumexp, block.mlp.gate_up, block.mlp.hidden});
  }
  const Scratch& scratch = buffers.scratch;
  return total + bytes({buffers.logits, buffers.losses, buffers.d_residual, scratch.branch, scratch.d_normed,
                        scratch.attention_norm_sums, scratch.mlp_norm_sums, scratch.attention.d_row_scale,
                        scratch.attention.row_scale, scratch.attention.qk_norm, scratch.attention.d_qkv,
                        scratch.attention.workspace, scratch.mlp.d_hidden, scratch.mlp.weight});
}

// 3 windows of 100 tokens; 4 heads of 8. By hand from what LibTorch's kernels allocate, in elements of fp32.
struct AttentionCase {
  const char* name;
  config::AttentionBackend backend;
  at::ScalarType dtype;
  bool documents, deterministic;
  int64_t logsumexp;  // of a layer
  int64_t workspace;
};
const AttentionCase kAttentionCases[] = {
    // A number for each row and head, and for each of the 32 elements of a query.
    {"cudnn", config::AttentionBackend::kCudnn, at::kBFloat16, false, false, 300 * 4, 300 * (4 + 32)},
    // Windows of 128 rows, heads of 32 elements.
    {"flash", config::AttentionBackend::kFlash, at::kBFloat16, false, false, 300 * 4, 3 * 128 * 4 * (1 + 32)},
    {"auto", config::AttentionBackend::kAuto, at::kBFloat16, false, false, 300 * 4, 3 * 128 * 4 * (1 + 32)},
    // 12 blocks at a time in 11 rounds would fill 132 multiprocessors: 11 sums.
    {"flash_deterministic", config::AttentionBackend::kFlash, at::kBFloat16, false, true, 300 * 4,
     3 * 128 * 4 * (1 + 11 * 32)},
    // Two documents a window are 6 spans, padded to 16; 128 rows more for each.
    {"flash_documents", config::AttentionBackend::kFlash, at::kBFloat16, true, false, 300 * 4,
     (300 + 16 * 128) * 4 * (1 + 32)},
    // Windows of 128 rows in blocks of 64; logsumexp in blocks of 32.
    {"efficient", config::AttentionBackend::kEfficient, at::kBFloat16, false, false, 3 * 4 * 128,
     300 * 4 + 3 * 128 * 32},
    {"efficient_fp32", config::AttentionBackend::kEfficient, at::kFloat, false, false, 3 * 4 * 128,
     300 * 4 + 3 * 128 * 32 + 300 * 32},
    {"auto_fp32", config::AttentionBackend::kAuto, at::kFloat, false, false, 3 * 4 * 128,
     300 * 4 + 3 * 128 * 32 + 300 * 32},
    {"efficient_documents", config::AttentionBackend::kEfficient, at::kBFloat16, true, false, 16 * 4 * 128,
     300 * 4 + 16 * 128 * 32},
};

TEST(GpuMemory, IsTheBuffersAndWhatAttentionAllocatesOfItself) {
  constexpr int64_t kBatch = 3;
  constexpr int64_t kTime = 100;
  constexpr int64_t kRows = kBatch * kTime;
  for (const AttentionCase& attention : kAttentionCases) {
    for (const Kind kind : {Kind::kSoftmax, Kind::kLearnedPn}) {
      config::Config config;
      config.model = small_spec(kind).config;
      if (kind == Kind::kLearnedPn) config.model.qk_norm = config::QkNorm::kRms;
      config.model.hidden_size = 32;
      config.model.num_attention_heads = 4;
      config.data.sequence_length = kTime;
      config.data.reset_at_document = attention.documents;
      config.train.device = config::Device::kCuda;
      config.train.micro_batch_size = kBatch;
      config.train.attention_backend = attention.backend;
      config.train.deterministic = attention.deterministic;
      const int64_t layers = config.model.num_hidden_layers;
      const int64_t hidden = config.model.hidden_size;
      const int64_t data = attention.dtype == at::kFloat ? 4 : 2;

      int64_t expected = bytes_of(allocate_buffers({kBatch, kTime, /*with_backward=*/true}, config.model,
                                                   kTime, at::kMeta, attention.dtype));
      expected += layers * (kRows * hidden * data + attention.logsumexp * 4);  // kept by each layer
      expected += 3 * kRows * hidden * data;                                   // gradients of q, k and v
      expected += attention.workspace * 4;
      expected += static_cast<int64_t>(kernels::cuda::kProductWorkspaceBytes);
      expected += kRows * (8 + 8 + 4);  // tokens, targets, numbers of keys
      EXPECT_EQ(estimate_memory(config, attention.dtype == at::kBFloat16, /*num_ranks=*/1).activations,
                expected)
          << attention.name << " " << to_string(kind);
    }
  }
}

// 40 examples in a micro-batch are padded to 48 spans, of which flash takes 128 rows more each, and the
// efficient kernel a whole window; two a window would be 16.
TEST(GpuMemory, OfExamplesGrowsWithTheSpansOfAMicroBatch) {
  config::Config config;
  config.model = small_spec(Kind::kSoftmax).config;
  config.model.hidden_size = 32;
  config.model.num_attention_heads = 4;
  config.data.sequence_length = 100;
  config.data.format = config::DataFormat::kSft;
  config.train.device = config::Device::kCuda;
  config.train.micro_batch_size = 3;
  const auto more = [&config](config::AttentionBackend backend) {
    config.train.attention_backend = backend;
    return estimate_memory(config, /*bf16=*/true, /*num_ranks=*/1, /*spans=*/40).activations -
           estimate_memory(config, /*bf16=*/true, /*num_ranks=*/1).activations;
  };
  EXPECT_EQ(more(config::AttentionBackend::kFlash), 4 * 32 * 128 * 4 * (1 + 32));
  EXPECT_EQ(more(config::AttentionBackend::kEfficient),
            4 * (32 * 128 * 32 + config.model.num_hidden_layers * 32 * 4 * 128));
}

TEST(GpuMemory, HoldsTheParametersWithThePaddedVocabulary) {
  config::Config config;
  config.model = small_spec(Kind::kSsmax).config;
  config.data.sequence_length = 16;
  config.train.device = config::Device::kCuda;
  config.train.micro_batch_size = 1;
  const int64_t padded = padded_vocab_size(at::kCUDA, config.model.vocab_size);
  ASSERT_GT(padded, config.model.vocab_size);
  const int64_t count =
      count_parameters(config.model, 16) + (padded - config.model.vocab_size) * config.model.hidden_size;
  EXPECT_EQ(estimate_memory(config, /*bf16=*/false, /*num_ranks=*/1).parameters, count * 16);
  EXPECT_EQ(estimate_memory(config, /*bf16=*/true, /*num_ranks=*/1).parameters, count * 18);
  const int64_t snapshot = estimate_memory(config, /*bf16=*/true, /*num_ranks=*/1).snapshot;
  EXPECT_GE(snapshot, count * 12);  // three tensors, each rounded up to a power of two
  EXPECT_LT(snapshot, count * 24);
  EXPECT_EQ(snapshot % 3, 0);
  EXPECT_TRUE(std::has_single_bit(static_cast<uint64_t>(snapshot / 3)));
  config.parallel.zero_stage = 1;
  EXPECT_EQ(estimate_memory(config, /*bf16=*/true, /*num_ranks=*/4).parameters, count * 12);
}

}  // namespace
}  // namespace ssgpt::model
