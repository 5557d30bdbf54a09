#include "model/rope.h"

#include <cmath>

#include <ATen/ops/empty.h>

namespace ssgpt::model {

RopeTables make_rope_tables(int64_t time, int64_t head_dim, double theta, at::Device device) {
  const int64_t half = head_dim / 2;
  const at::Tensor cos = at::empty({time, half}, at::kFloat);
  const at::Tensor sin = at::empty({time, half}, at::kFloat);
  for (int64_t i = 0; i < half; ++i) {
    const double frequency = std::pow(theta, -2.0 * static_cast<double>(i) / static_cast<double>(head_dim));
    for (int64_t t = 0; t < time; ++t) {
      const double angle = static_cast<double>(t) * frequency;
      cos.mutable_data_ptr<float>()[t * half + i] = static_cast<float>(std::cos(angle));
      sin.mutable_data_ptr<float>()[t * half + i] = static_cast<float>(std::sin(angle));
    }
  }
  return {cos.to(device), sin.to(device)};
}

at::Tensor make_position_table(config::AttentionKind kind, int64_t count, at::Device device) {
  if (!config::has_row_scale(kind)) return {};
  const at::Tensor table = at::empty({count}, at::kFloat);
  for (int64_t n = 1; n <= count; ++n) {
    table.mutable_data_ptr<float>()[n - 1] = static_cast<float>(config::initial_position(kind, n));
  }
  return table.to(device);
}

}  // namespace ssgpt::model
