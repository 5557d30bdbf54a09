#include "model/positions.h"

#include "core/round_up.h"

#include <algorithm>
#include <vector>

#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>

namespace ssgpt::model {

at::Tensor count_keys(int64_t batch, int64_t time) {
  const at::Tensor num_keys = at::empty({batch, time}, at::kInt);
  int32_t* n = num_keys.mutable_data_ptr<int32_t>();
  for (int64_t i = 0; i < batch * time; ++i) n[i] = static_cast<int32_t>(i % time + 1);
  return num_keys;
}

at::Tensor count_keys_within_documents(const at::Tensor& tokens, int64_t document_token_id) {
  const int64_t batch = tokens.size(0);
  const int64_t time = tokens.size(1);
  const int64_t* token = tokens.const_data_ptr<int64_t>();
  const at::Tensor num_keys = at::empty({batch, time}, at::kInt);
  int32_t* n = num_keys.mutable_data_ptr<int32_t>();
  for (int64_t b = 0; b < batch; ++b) {
    for (int64_t t = 0, begin = 0; t < time; ++t) {
      n[b * time + t] = static_cast<int32_t>(t - begin + 1);
      if (token[b * time + t] == document_token_id) begin = t + 1;
    }
  }
  return num_keys;
}

int64_t padded_spans(int64_t spans) {
  constexpr int64_t kSpansAtATime = 16;  // each adds some 100 rows to the kernels' workspaces
  return core::round_up(spans + 1, kSpansAtATime);
}

at::Tensor span_starts(const at::Tensor& num_keys) {
  const int32_t* n = num_keys.const_data_ptr<int32_t>();
  std::vector<int32_t> starts;
  for (int64_t row = 0; row < num_keys.numel(); ++row) {
    if (n[row] == 1) starts.push_back(static_cast<int32_t>(row));
  }
  const int64_t size = padded_spans(static_cast<int64_t>(starts.size())) + 1;
  const at::Tensor result = at::full({size}, num_keys.numel(), at::kInt);
  std::copy(starts.begin(), starts.end(), result.mutable_data_ptr<int32_t>());
  return result;
}

int64_t longest_span(const at::Tensor& num_keys) {
  const int32_t* n = num_keys.const_data_ptr<int32_t>();
  return *std::max_element(n, n + num_keys.numel());
}

}  // namespace ssgpt::model
