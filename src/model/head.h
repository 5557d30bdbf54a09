// Output projection with cross-entropy, in chunks of rows: logits are V / D times larger than their input, so
// they are never held for all rows, and are overwritten by their own gradient. Shapes: M rows, D hidden, V
// vocabulary.
#pragma once

#include "model/linear.h"

#include <cstdint>

#include <ATen/core/Tensor.h>

namespace ssgpt::model {

// Rows of the head's weight in memory are padded to this multiple, on a GPU as its tensor cores require. Rows
// beyond the vocabulary are zero and never predicted.
int64_t vocabulary_multiple(at::Device device);
int64_t padded_vocab_size(at::Device device, int64_t vocab_size);

// Rows of logits computed at a time. On a CPU a few megabytes, so that they stay in the cache between the
// matmul, the softmax and the backward's two matmuls, but enough rows for efficient matmuls. On a GPU, where
// they fit no cache, usually all, so that the gradient of the weight is written once: limited by
// gpu_logits_chunk_elements of the current one, or by 2^SSGPT_HEAD_CHUNK_LOG2 elements if that environment
// variable is set, in chunks of about equal size. dtype: of the logits. Throws core::UsageError if the
// variable is not a whole number from 20 to 31.
int64_t logits_chunk_rows(at::Device device, at::ScalarType dtype, int64_t rows, int64_t vocab_size);

// Elements that fit in a sixteenth of a GPU's memory, but at least 2^29 and below 2^31.
int64_t gpu_logits_chunk_elements(uint64_t memory_bytes, at::ScalarType dtype);

// Losses in nats, and their gradients.
//   x: data (M, D), normed.  targets: int64 (M), negative: not predicted.  weight: data (C, D), C >=
//   vocab_size; the rows beyond are padding.  losses: fp32 (M), =.  d_x: data (M, D), =.  d_weight: fp32 (C,
//   D), += or = as `mode` says.  logits: data (rows of a chunk, C), contents lost.  scratch: see
//   linear_backward_weight.
void head_forward_backward(const at::Tensor& x, const at::Tensor& targets, const at::Tensor& weight,
                           int64_t vocab_size, const at::Tensor& losses, const at::Tensor& d_x,
                           const at::Tensor& d_weight, GradientMode mode, const at::Tensor& logits,
                           const at::Tensor& scratch);

// The losses only.
void head_forward(const at::Tensor& x, const at::Tensor& targets, const at::Tensor& weight,
                  int64_t vocab_size, const at::Tensor& losses, const at::Tensor& logits);

// The losses, and whether the target's logit is strictly larger than every other; false where the target is
// negative or a logit is NaN.   correct: bool (M), =.  Allocates a few elements per row.
void head_scores(const at::Tensor& x, const at::Tensor& targets, const at::Tensor& weight, int64_t vocab_size,
                 const at::Tensor& losses, const at::Tensor& correct, const at::Tensor& logits);

}  // namespace ssgpt::model
