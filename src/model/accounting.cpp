#include "model/accounting.h"

#include "core/round_up.h"
#include "kernels/cuda/product.h"
#include "kernels/ops.h"
#include "model/gpt.h"
#include "model/head.h"
#include "model/positions.h"

#include <algorithm>
#include <bit>

namespace ssgpt::model {
namespace {

using core::round_up;

constexpr int64_t kFp32Bytes = 4;
constexpr int64_t kBf16Bytes = 2;

at::Device device_of(const config::Config& config) {
  return config.train.device == config::Device::kCuda ? at::kCUDA : at::kCPU;
}

// Shapes of attention on a GPU: whole windows, or varlen spans with document masking or packed examples.
struct GpuAttention {
  GpuAttention(const config::Config& of, bool bf16, std::optional<int64_t> known_spans)
      : backend(of.train.attention_backend),
        deterministic(of.train.deterministic),
        documents(of.data.reset_at_document || of.data.format == config::DataFormat::kSft),
        rows(of.train.micro_batch_size * of.data.sequence_length),
        time(of.data.sequence_length),
        spans(documents ? padded_spans(known_spans.value_or(2 * of.train.micro_batch_size))
                        : of.train.micro_batch_size),
        heads(of.model.num_attention_heads),
        head_dim(config::head_dim(of.model)) {
    using config::AttentionBackend;
    if (backend == AttentionBackend::kAuto)
      backend = bf16 ? AttentionBackend::kFlash : AttentionBackend::kEfficient;
  }

  // Elements of the logsumexp that each layer keeps.
  int64_t logsumexp_elements() const {
    constexpr int64_t kRows = 32;
    const bool by_span = backend == config::AttentionBackend::kEfficient;
    return heads * (by_span ? spans * round_up(time, kRows) : rows);
  }

  // fp32 elements that the backward holds during a call: the sum of d_out * out per row and head, and the
  // gradient of the queries.
  int64_t workspace_elements(bool bf16) const {
    const int64_t hidden = heads * head_dim;
    if (backend == config::AttentionBackend::kEfficient) {
      constexpr int64_t kBlock = 64;
      const int64_t product = bf16 ? 0 : rows * hidden;  // d_out * out before its sum
      return rows * heads + spans * round_up(time, kBlock) * hidden + product;
    }
    if (backend == config::AttentionBackend::kCudnn) return rows * (heads + hidden);
    constexpr int64_t kBlock = 128;
    constexpr int64_t kMultiprocessors = 132;  // Hopper; in deterministic mode each sums separately
    const int64_t padded_rows = documents ? rows + kBlock * spans : spans * round_up(time, kBlock);
    const int64_t copies = deterministic ? (kMultiprocessors + spans * heads - 1) / (spans * heads) : 1;
    return padded_rows * heads * (1 + copies * round_up(head_dim, head_dim <= 128 ? 32 : 64));
  }

  config::AttentionBackend backend;
  bool deterministic, documents;
  int64_t rows, time, spans, heads, head_dim;
};

// Bytes of allocate_buffers and, on a GPU, of what attention keeps for its backward.
int64_t activation_bytes(const config::Config& config, bool bf16, std::optional<int64_t> spans) {
  const config::ModelConfig& model = config.model;
  const at::Device device = device_of(config);
  const int64_t time = config.data.sequence_length;
  const int64_t rows = config.train.micro_batch_size * time;
  const int64_t data = bf16 ? kBf16Bytes : kFp32Bytes;
  const int64_t hidden = model.hidden_size;
  const int64_t ff = model.intermediate_size;
  const int64_t heads = model.num_attention_heads;
  const int64_t vocab_size = padded_vocab_size(device, model.vocab_size);
  const int64_t logsumexp =
      device.is_cpu() ? rows * heads : GpuAttention(config, bf16, spans).logsumexp_elements();
  // Two norms' inputs and outputs; q, k and v; attention's output; gate, up and their product. Two rstd. With
  // query/key norm, also the q and k before it.
  const bool qk_norm = model.qk_norm == config::QkNorm::kRms;
  const int64_t wide = (qk_norm ? 10 : 8) * hidden + 3 * ff;
  const int64_t block = rows * (data * wide + kFp32Bytes * 2) + kFp32Bytes * logsumexp;
  // The final norm; d_residual, branch, d_normed; d_hidden; d_q, d_k, d_v. rstd and loss.
  int64_t shared = rows * (data * (8 * hidden + ff) + kFp32Bytes * 2);
  const at::ScalarType dtype = bf16 ? at::kBFloat16 : at::kFloat;
  shared += data * logits_chunk_rows(device, dtype, rows, vocab_size) * vocab_size;
  shared += kFp32Bytes * kernels::attention_workspace(device, time, hidden / heads);
  shared += kFp32Bytes * 2 * kernels::num_row_chunks(rows) * hidden;
  if (has_row_scale(model.attention.kind)) {
    shared += kFp32Bytes * (rows * heads + kernels::row_scale_scratch(device, heads, time));
  }
  if (qk_norm) shared += kFp32Bytes * 2 * kernels::num_row_chunks(rows) * config::head_dim(model);
  if (bf16 && device.is_cpu()) shared += data * hidden * std::max({3 * hidden, 2 * ff, model.vocab_size});
  return model.num_hidden_layers * block + shared;
}

// Bytes that a GPU's kernels hold during a call: attention's backward and the GEMM workspace.
int64_t gpu_workspace_bytes(const config::Config& config, bool bf16, std::optional<int64_t> spans) {
  return kFp32Bytes * GpuAttention(config, bf16, spans).workspace_elements(bf16) +
         static_cast<int64_t>(kernels::cuda::kProductWorkspaceBytes);
}

// Bytes of a tensor's copy in host memory. For a GPU's tensor it is pinned, which ATen's allocator rounds up
// to powers of two.
int64_t copied_bytes(at::Device device, int64_t bytes) {
  return device.is_cpu() ? bytes : static_cast<int64_t>(std::bit_ceil(static_cast<uint64_t>(bytes)));
}

// Tokens and targets in int64, the number of keys in int32.
int64_t gpu_batch_bytes(int64_t batch, int64_t time) {
  return batch * time * (2 * int64_t{sizeof(int64_t)} + int64_t{sizeof(int32_t)});
}

// The loader's ring of four plus the batches being written and read, in int32; inputs and targets in int64.
int64_t batch_bytes(int64_t batch, int64_t time) {
  constexpr int64_t kLoaderBatches = 6;
  return batch * (time + 1) * (kLoaderBatches * int64_t{sizeof(int32_t)} + 2 * int64_t{sizeof(int64_t)});
}

}  // namespace

int64_t count_parameters(const config::ModelConfig& config, int64_t sequence_length) {
  int64_t total = 0;
  for (const ParameterSpec& spec : parameter_specs(config, sequence_length)) total += numel(spec);
  return total;
}

double flops_per_token(const config::ModelConfig& config, int64_t sequence_length) {
  int64_t matrices = 0;
  for (const ParameterSpec& spec : parameter_specs(config, sequence_length)) {
    if (spec.shape.size() == 2) matrices += numel(spec);
  }
  matrices -= config.vocab_size * config.hidden_size;  // the input embedding is a lookup, not a matmul
  return 6.0 * static_cast<double>(matrices) +
         6.0 * static_cast<double>(sequence_length * config.hidden_size * config.num_hidden_layers);
}

MemoryEstimate estimate_memory(const config::Config& config, bool bf16, int64_t num_ranks,
                               std::optional<int64_t> spans) {
  const int64_t sequence_length = config.data.sequence_length;
  const int64_t batch = config.train.micro_batch_size;
  const at::Device device = device_of(config);
  const int64_t padding = (padded_vocab_size(device, config.model.vocab_size) - config.model.vocab_size) *
                          config.model.hidden_size;
  const int64_t count = count_parameters(config.model, sequence_length) + padding;
  MemoryEstimate estimate;
  const int64_t moments = 2 * count * kFp32Bytes / (config.parallel.zero_stage == 1 ? num_ranks : 1);
  estimate.parameters = count * (2 * kFp32Bytes + (bf16 ? kBf16Bytes : 0)) + moments;
  estimate.activations = activation_bytes(config, bf16, spans);
  estimate.activations +=
      device.is_cpu() ? batch_bytes(batch, sequence_length)
                      : gpu_batch_bytes(batch, sequence_length) + gpu_workspace_bytes(config, bf16, spans);
  estimate.snapshot = copied_bytes(device, count * kFp32Bytes) + 2 * copied_bytes(device, moments / 2);
  // The swapped weights and moments exist alongside the live ones and alongside the copy kept by an earlier
  // checkpoint.
  const auto follows_a_checkpoint = [&](const config::SwapAttention& swap) {
    return config.checkpoint.every > 0 && config.checkpoint.every <= swap.at_step;
  };
  const std::vector<config::SwapAttention>& swaps = config.train.swap_attention;
  if (std::any_of(swaps.begin(), swaps.end(), follows_a_checkpoint)) estimate.swap = count * 3 * kFp32Bytes;
  return estimate;
}

}  // namespace ssgpt::model
