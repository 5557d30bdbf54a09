// The output projection with cross-entropy, over chunks of rows: logits are V / D times larger than what they
// are made from, so they are never held for all rows, and become their own gradient. Shapes: M rows, D
// hidden, V vocabulary.
#pragma once

#include "model/linear.h"

#include <cstdint>

#include <ATen/core/Tensor.h>

namespace ssgpt::model {

// Rows of the head's weight in memory: on a GPU a multiple of what its tensor cores want. Those beyond the
// vocabulary are zero and never predicted.
int64_t vocabulary_multiple(at::Device device);
int64_t padded_vocab_size(at::Device device, int64_t vocab_size);

// Rows of logits made at a time. On a CPU a few megabytes, so that they stay in the cache between the
// product, the softmax and the two products of the backward, but enough rows to make the products efficient.
// On a GPU, where no cache holds them, most often all, so that the gradient of the weight is written once: as
// many as gpu_logits_chunk_elements says of the current one, or 2^SSGPT_HEAD_CHUNK_LOG2 elements where that
// environment variable is set, in chunks of about equal size. dtype: of the logits. Throws core::UsageError
// where the variable is no whole number from 20 to 31.
int64_t logits_chunk_rows(at::Device device, at::ScalarType dtype, int64_t rows, int64_t vocab_size);

// What fits into a sixteenth of a GPU's memory, but at least 2^29 and below 2^31.
int64_t gpu_logits_chunk_elements(uint64_t memory_bytes, at::ScalarType dtype);

// Losses in nats and their gradients.
//   x: data (M, D), normed.  targets: int64 (M), negative: not predicted.  weight: data (C, D), C >=
//   vocab_size; the rows beyond are padding.  losses: fp32 (M), =.  d_x: data (M, D), =.  d_weight: fp32 (C,
//   D), += or = as `mode` says.  logits: data (rows of a chunk, C), contents lost.  scratch: see
//   linear_backward_weight.
void head_forward_backward(const at::Tensor& x, const at::Tensor& targets, const at::Tensor& weight,
                           int64_t vocab_size, const at::Tensor& losses, const at::Tensor& d_x,
                           const at::Tensor& d_weight, GradientMode mode, const at::Tensor& logits,
                           const at::Tensor& scratch);

// The losses alone.
void head_forward(const at::Tensor& x, const at::Tensor& targets, const at::Tensor& weight,
                  int64_t vocab_size, const at::Tensor& losses, const at::Tensor& logits);

// The losses, and whether the logit of the target is strictly larger than every other; false where the target
// is negative or a logit is NaN.   correct: bool (M), =.  Allocates a few elements a row.
void head_scores(const at::Tensor& x, const at::Tensor& targets, const at::Tensor& weight, int64_t vocab_size,
                 const at::Tensor& losses, const at::Tensor& correct, const at::Tensor& logits);

}  // namespace ssgpt::model
