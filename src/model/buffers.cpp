#include "model/buffers.h"

#include "kernels/ops.h"
#include "model/attention_kind.h"
#include "model/head.h"

#include <algorithm>

#include <ATen/ops/empty.h>

namespace ssgpt::model {
namespace {

struct Allocator {
  at::TensorOptions options;
  at::ScalarType dtype;
  at::Tensor data(at::IntArrayRef shape) const { return at::empty(shape, options.dtype(dtype)); }
  at::Tensor fp32(at::IntArrayRef shape) const { return at::empty(shape, options.dtype(at::kFloat)); }
};

NormActivations allocate_norm(const Allocator& allocator, int64_t rows, int64_t hidden) {
  return {allocator.data({rows, hidden}), allocator.data({rows, hidden}), allocator.fp32({rows})};
}

}  // namespace

Buffers allocate_buffers(const BufferShape& shape, const config::ModelConfig& config, at::Device device,
                         at::ScalarType dtype) {
  const Allocator allocator = {at::TensorOptions().device(device), dtype};
  const int64_t rows = shape.rows();
  const int64_t hidden = config.hidden_size;
  const int64_t ff = config.intermediate_size;
  Buffers buffers;
  buffers.shape = shape;
  buffers.blocks.resize(static_cast<size_t>(shape.num_blocks));
  for (BlockActivations& block : buffers.blocks) {
    block.attention_norm = allocate_norm(allocator, rows, hidden);
    block.attention = {allocator.data({rows, 3 * hidden}), allocator.data({rows, hidden}),
                       allocator.fp32({shape.batch, config.num_attention_heads, shape.time})};
    block.mlp_norm = allocate_norm(allocator, rows, hidden);
    block.mlp = {allocator.data({rows, 2 * ff}), allocator.data({rows, ff})};
  }
  buffers.final_norm = allocate_norm(allocator, rows, hidden);
  buffers.logits = allocator.data({logits_chunk_rows(rows, config.vocab_size), config.vocab_size});
  buffers.losses = allocator.fp32({rows});
  buffers.d_residual = allocator.data({rows, hidden});

  Scratch& scratch = buffers.scratch;
  scratch.branch = allocator.data({rows, hidden});
  scratch.d_normed = allocator.data({rows, hidden});
  scratch.norm = allocator.fp32({kernels::num_row_chunks(rows), hidden});
  scratch.mlp.d_hidden = allocator.data({rows, ff});
  scratch.attention.d_heads = scratch.d_normed;
  scratch.attention.d_qkv = allocator.data({rows, 3 * hidden});
  scratch.attention.workspace =
      allocator.fp32({kernels::attention_workspace(shape.time, hidden / config.num_attention_heads)});
  if (has_row_scale(config.attention.kind)) {
    scratch.attention.d_row_scale = allocator.fp32({shape.batch, shape.time, config.num_attention_heads});
  }
  if (dtype != at::kFloat) {
    const int64_t largest = hidden * std::max({3 * hidden, 2 * ff, config.vocab_size});
    scratch.attention.weight = allocator.data({largest});
    scratch.mlp.weight = scratch.attention.weight;
  }
  return buffers;
}

}  // namespace ssgpt::model
