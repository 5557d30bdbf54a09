#include "model/buffers.h"

#include "device/large_pages.h"
#include "kernels/ops.h"
#include "model/head.h"

#include <algorithm>

namespace ssgpt::model {
namespace {

struct Allocator {
  at::TensorOptions options;
  at::ScalarType dtype;
  at::Tensor data(at::IntArrayRef shape) const { return device::empty_held(shape, options.dtype(dtype)); }
  at::Tensor fp32(at::IntArrayRef shape) const {
    return device::empty_held(shape, options.dtype(at::kFloat));
  }
};

NormActivations allocate_norm(const Allocator& allocator, int64_t rows, int64_t hidden) {
  return {allocator.data({rows, hidden}), allocator.data({rows, hidden}), allocator.fp32({rows})};
}

// Allocates what only a backward needs.
void allocate_for_backward(const Allocator& allocator, const config::ModelConfig& config,
                           int64_t sequence_length, at::Device device, Buffers& buffers) {
  const int64_t rows = buffers.shape.rows();
  const int64_t hidden = config.hidden_size;
  const int64_t ff = config.intermediate_size;
  const int64_t heads = config.num_attention_heads;
  Scratch& scratch = buffers.scratch;
  buffers.d_residual = allocator.data({rows, hidden});
  scratch.d_normed = allocator.data({rows, hidden});
  scratch.attention_norm_sums = allocator.fp32({kernels::num_row_chunks(rows), hidden});
  scratch.mlp_norm_sums = allocator.fp32({kernels::num_row_chunks(rows), hidden});
  scratch.mlp.d_hidden = allocator.data({rows, ff});
  scratch.attention.d_heads = scratch.d_normed;
  if (device.is_cpu()) scratch.attention.d_qkv = allocator.data({rows, 3 * hidden});
  if (has_row_scale(config.attention.kind)) {
    scratch.attention.d_row_scale = allocator.fp32({buffers.shape.batch, buffers.shape.time, heads});
    scratch.attention.row_scale =
        allocator.fp32({kernels::row_scale_scratch(device, heads, sequence_length)});
  }
  if (config.qk_norm == config::QkNorm::kRms) {
    const int64_t head_dim = config::head_dim(config);
    scratch.attention.qk_norm = allocator.fp32({2, kernels::num_row_chunks(rows), head_dim});
    for (BlockActivations& block : buffers.blocks)
      block.attention.raw = allocator.data({buffers.shape.batch, buffers.shape.time, 2, heads, head_dim});
  }
  if (allocator.dtype != at::kFloat && device.is_cpu()) {
    const int64_t largest = hidden * std::max({3 * hidden, 2 * ff, config.vocab_size});
    scratch.attention.weight = allocator.data({largest});
    scratch.mlp.weight = scratch.attention.weight;
  }
}

}  // namespace

Buffers allocate_buffers(const BufferShape& shape, const config::ModelConfig& config, int64_t sequence_length,
                         at::Device device, at::ScalarType dtype) {
  const Allocator allocator = {at::TensorOptions().device(device), dtype};
  const int64_t rows = shape.rows();
  const int64_t hidden = config.hidden_size;
  const int64_t ff = config.intermediate_size;
  const int64_t heads = config.num_attention_heads;
  const int64_t vocab_size = padded_vocab_size(device, config.vocab_size);
  Buffers buffers;
  buffers.shape = shape;
  buffers.blocks.resize(shape.with_backward ? static_cast<size_t>(config.num_hidden_layers) : 1);
  for (BlockActivations& block : buffers.blocks) {
    block.attention_norm = allocate_norm(allocator, rows, hidden);
    block.attention.qkv = allocator.data({rows, 3 * hidden});
    if (device.is_cpu()) {
      block.attention.result.out = allocator.data({shape.batch, shape.time, heads, hidden / heads});
      block.attention.result.logsumexp = allocator.fp32({shape.batch, heads, shape.time});
    }
    block.mlp_norm = allocate_norm(allocator, rows, hidden);
    block.mlp = {allocator.data({rows, 2 * ff}), allocator.data({rows, ff})};
  }
  buffers.final_norm = allocate_norm(allocator, rows, hidden);
  buffers.logits = allocator.data({logits_chunk_rows(device, dtype, rows, vocab_size), vocab_size});
  buffers.losses = allocator.fp32({rows});
  buffers.scratch.branch = allocator.data({rows, hidden});
  buffers.scratch.attention.workspace =
      allocator.fp32({kernels::attention_workspace(device, shape.time, hidden / heads)});
  if (shape.with_backward) allocate_for_backward(allocator, config, sequence_length, device, buffers);
  return buffers;
}

}  // namespace ssgpt::model
