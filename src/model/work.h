// Work done by the model's operations, for the profile (core/profile.h).
#pragma once

#include "core/profile.h"

#include <ATen/core/Tensor.h>

namespace ssgpt::model {

// Bytes of all tensors, each counted once and whole; undefined ones count 0. Pass a tensor twice if it is
// read and written.
template <typename... Tensors>
core::Work traffic(const Tensors&... tensors) {
  const auto bytes = [](const at::Tensor& tensor) {
    return tensor.defined() ? static_cast<double>(tensor.nbytes()) : 0.0;
  };
  return {.flops = 0.0, .bytes = (0.0 + ... + bytes(tensors))};
}

// left (M, K) times right (K, N), whatever their layout.
inline core::Work product_work(int64_t m, int64_t n, int64_t k, double bytes) {
  return {.flops = 2.0 * static_cast<double>(m) * static_cast<double>(n) * static_cast<double>(k),
          .bytes = bytes};
}

// `products` matmuls over T x T scores, half of them masked, for B sequences with N heads of H.
inline core::Work attention_work(int products, int64_t batch, int64_t time, int64_t num_heads,
                                 int64_t head_dim, double bytes) {
  const double scores = 0.5 * static_cast<double>(time) * static_cast<double>(time);
  return {.flops = products * 2.0 * scores * static_cast<double>(batch * num_heads * head_dim),
          .bytes = bytes};
}

}  // namespace ssgpt::model
