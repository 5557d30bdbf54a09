#include "model/positions.h"

#include <ATen/ops/empty.h>

namespace ssgpt::model {

at::Tensor count_keys(int64_t batch, int64_t time, at::Device device) {
  const at::Tensor num_keys = at::empty({batch, time}, at::kInt);
  int32_t* n = num_keys.mutable_data_ptr<int32_t>();
  for (int64_t i = 0; i < batch * time; ++i) n[i] = static_cast<int32_t>(i % time + 1);
  return num_keys.to(device);
}

at::Tensor count_keys_within_documents(const at::Tensor& tokens, int64_t document_token_id) {
  const at::Tensor host = tokens.to(at::kCPU).contiguous();
  const int64_t batch = host.size(0);
  const int64_t time = host.size(1);
  const int64_t* token = host.const_data_ptr<int64_t>();
  const at::Tensor num_keys = at::empty({batch, time}, at::kInt);
  int32_t* n = num_keys.mutable_data_ptr<int32_t>();
  for (int64_t b = 0; b < batch; ++b) {
    for (int64_t t = 0, begin = 0; t < time; ++t) {
      n[b * time + t] = static_cast<int32_t>(t - begin + 1);
      if (token[b * time + t] == document_token_id) begin = t + 1;
    }
  }
  return num_keys.to(tokens.device());
}

}  // namespace ssgpt::model
