// Number of keys that each query may attend to, and where spans begin. On the CPU.
#pragma once

#include <cstdint>

#include <ATen/core/Tensor.h>

namespace ssgpt::model {

// n, the number of keys that a query attends to, including its own: int32 (B, T). Without boundaries n = t +
// 1.
at::Tensor count_keys(int64_t batch, int64_t time);

// Likewise with document masking: a document ends after its document_token_id, and n restarts at 1.
//   tokens: int64 (B, T), contiguous.
at::Tensor count_keys_within_documents(const at::Tensor& tokens, int64_t document_token_id);

// Number of spans that a batch with `spans` of them is padded to with empty ones, so that sizes on a GPU are
// the same for most batches.
int64_t padded_spans(int64_t spans);

// Rows among the B T at which n is 1, then B T, repeated up to padded_spans + 1 elements: int32, the
// Spans::starts of kernels/ops.h (cu_seqlens).   num_keys: int32 (B, T).
at::Tensor span_starts(const at::Tensor& num_keys);

// The largest n (max_seqlen).
int64_t longest_span(const at::Tensor& num_keys);

}  // namespace ssgpt::model
