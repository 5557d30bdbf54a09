// How many keys each query may attend to, and where that begins anew. On the CPU.
#pragma once

#include <cstdint>

#include <ATen/core/Tensor.h>

namespace ssgpt::model {

// n, the keys that a query attends to, itself included: int32 (B, T). Rows without boundaries: n = t + 1.
at::Tensor count_keys(int64_t batch, int64_t time);

// The same where a document ends after its document_token_id, and n is 1 again at the token behind it.
//   tokens: int64 (B, T), contiguous.
at::Tensor count_keys_within_documents(const at::Tensor& tokens, int64_t document_token_id);

// Spans that a batch with `spans` of them is padded to with empty ones, so that sizes on a GPU are the same
// for most batches.
int64_t padded_spans(int64_t spans);

// The rows among the B T at which n is 1 again, and B T, repeated up to padded_spans + 1 elements: int32, the
// Spans::starts of kernels/ops.h.   num_keys: int32 (B, T).
at::Tensor span_starts(const at::Tensor& num_keys);

// The largest n.
int64_t longest_span(const at::Tensor& num_keys);

}  // namespace ssgpt::model
