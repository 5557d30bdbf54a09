// Shared by the tests of rotary positions, with a norm and without: inputs, and the formulas in fp64.
#pragma once

#include "kernels/cuda_support.h"

#include <array>
#include <cmath>
#include <cstdint>
#include <vector>

namespace ssgpt::kernels::cuda {

using emulation::OrderOfThreads;
inline constexpr std::array kOrders = {OrderOfThreads::kRising, OrderOfThreads::kFalling,
                                       OrderOfThreads::kShuffled};
inline constexpr int64_t kRopePositions = 9;

struct RopeShape {
  int64_t batch, time, heads, head_dim;
  int64_t rotated;  // dimensions of a head
  int64_t rows() const { return batch * time; }
  int64_t half() const { return rotated / 2; }
  int64_t size() const { return rows() * heads * head_dim; }
  // The index of part 0 (q), 1 (k) or 2 (v) in (B, T, 3, N, H).
  int64_t in_qkv(int64_t row, int64_t part, int64_t head, int64_t i) const {
    return ((row * 3 + part) * heads + head) * head_dim + i;
  }
};
inline std::ostream& operator<<(std::ostream& out, const RopeShape& shape) {
  return out << shape.batch << " x " << shape.time << ", " << shape.heads << " heads of " << shape.head_dim
             << ", " << shape.rotated << " rotated";
}

// The inputs of an operation besides qkv. Without learned positions there is no row scale.
struct RopeInputs {
  RopeInputs(const RopeShape& of, bool has_row_scale, double rest_factor = 1.0)
      : shape(of),
        is_scaled(has_row_scale),
        rest(rest_factor),
        cos(random_array<float>(of.time * of.half(), 1.0)),
        sin(random_array<float>(of.time * of.half(), 1.0)),
        position(random_array<float>(kRopePositions, 1.0)),
        scale(random_array<float>(of.heads, 1.0)),
        bias(random_array<float>(of.heads, 1.0)),
        num_keys(of.rows()) {
    for (int64_t row = 0; row < of.rows(); ++row) {
      num_keys.data()[row] = static_cast<int32_t>(row * 5 % kRopePositions + 1);
    }
  }
  RowScaleView row_scale_view() const {
    if (!is_scaled) return {};
    return {position.data(), scale.data(), has_bias ? bias.data() : nullptr, kRopePositions};
  }
  struct Value {
    double c = 1.0;
    double terms = 1.0;  // the size of what c is a sum of
  };
  Value row_scale(int64_t row, int64_t head) const {
    if (!is_scaled) return {};
    const double product = position.at(num_keys.data()[row] - 1) * scale.at(head);
    return {product + bias.at(head), std::abs(product) + std::abs(bias.at(head))};
  }
  template <typename T>
  RopeArgs<T> args(T* qkv) {
    return {.qkv = qkv,
            .rotation = {.cos = cos.data(),
                         .sin = sin.data(),
                         .rest = static_cast<float>(rest),
                         .dims = shape.rotated},
            .num_keys = is_scaled ? num_keys.data() : nullptr,
            .row_scale = row_scale_view(),
            .norm = {},
            .time = shape.time,
            .heads = shape.heads,
            .head_dim = shape.head_dim};
  }

  RopeShape shape;
  bool is_scaled;
  bool has_bias = true;
  double rest;
  Array<float> cos, sin, position, scale, bias;
  Array<int32_t> num_keys;
};

template <typename T>
std::vector<double> head_of(const Array<T>& x, int64_t begin, int64_t head_dim) {
  std::vector<double> head;
  for (int64_t i = begin; i < begin + head_dim; ++i) head.push_back(x.at(i));
  return head;
}

// Component i of a head turned by sign times the angles of time t: its value, and the size of its terms.
struct Turned {
  double value, terms;
};
inline Turned turned(const std::vector<double>& head, int64_t i, const RopeInputs& inputs, int64_t t,
                     double sign) {
  const int64_t half = inputs.shape.half();
  const auto at = [&](int64_t j) {
    return head[static_cast<size_t>(j)];
  };
  if (i >= 2 * half) return {at(i) * inputs.rest, std::abs(at(i) * inputs.rest)};
  const double cos = inputs.cos.at(t * half + i % half);
  const double sin = sign * inputs.sin.at(t * half + i % half);
  const double same = at(i) * cos;
  const double other = i < half ? -at(i + half) * sin : at(i - half) * sin;
  return {same + other, std::abs(same) + std::abs(other)};
}

// A gradient (B, N, T, H) in some layout.
template <typename T>
struct HeadsGradient {
  enum class Layout { kHeadsFirst, kTimeFirst, kUnaligned };
  HeadsGradient(const RopeShape& shape, Layout layout)
      : view{.data = nullptr,
             .batch = shape.heads * shape.time * shape.head_dim,
             .head = layout == Layout::kTimeFirst ? shape.head_dim : shape.time * shape.head_dim,
             .time = layout == Layout::kTimeFirst ? shape.heads * shape.head_dim : shape.head_dim},
        offset(layout == Layout::kUnaligned ? 1 : 0),
        storage(random_array<T>(offset + shape.size(), 1.0)) {
    view.data = storage.data() + offset;
  }
  std::vector<double> head(const RopeShape& shape, int64_t row, int64_t index) const {
    const int64_t begin =
        offset + row / shape.time * view.batch + index * view.head + row % shape.time * view.time;
    return head_of(storage, begin, shape.head_dim);
  }
  HeadsView<T> view;
  int64_t offset;
  Array<T> storage;
};

template <typename T>
struct RopeGradients {
  using Layout = typename HeadsGradient<T>::Layout;
  RopeGradients(const RopeShape& shape, bool is_aligned)
      : d_q(shape, Layout::kTimeFirst),
        d_k(shape, Layout::kHeadsFirst),
        d_v(shape, is_aligned ? Layout::kTimeFirst : Layout::kUnaligned) {}
  HeadsGradient<T> d_q, d_k, d_v;
};

}  // namespace ssgpt::kernels::cuda
