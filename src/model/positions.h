// How many keys each query may attend to.
#pragma once

#include <cstdint>

#include <ATen/core/Tensor.h>

namespace ssgpt::model {

// n, the keys that a query attends to, itself included: int32 (B, T) on `device`. Rows without boundaries: n
// = t
// + 1.
at::Tensor count_keys(int64_t batch, int64_t time, at::Device device);

// The same where a document ends after its document_token_id, and n is 1 again at the token behind it.
//   tokens: int64 (B, T); the result is on their device.
at::Tensor count_keys_within_documents(const at::Tensor& tokens, int64_t document_token_id);

}  // namespace ssgpt::model
