#include "kernels/dispatch.h"
#include "kernels/ops.h"

#include <array>

namespace ssgpt::kernels {
namespace {

struct RopeShape {
  int64_t batch, time, heads, head_dim;
};

RowScaleView view_of(const RowScale& row_scale) {
  return {.position = pointer<float>(row_scale.position),
          .scale = pointer<float>(row_scale.scale),
          .bias = pointer<float>(row_scale.bias),
          .num_positions = row_scale.identity() ? 0 : row_scale.position.numel()};
}

// Checks num_keys (on a CPU its values too: each indexes `position`) and the row scale.
void check_row_scale(const at::Tensor& num_keys, const RowScale& row_scale, int64_t batch, int64_t time,
                     int64_t heads, at::Device device) {
  check_tensor(num_keys, "num_keys", at::kInt, {batch, time}, device);
  if (row_scale.identity()) return;
  check_tensor(row_scale.position, "position", at::kFloat, {row_scale.position.numel()}, device);
  if (row_scale.scale.defined()) check_tensor(row_scale.scale, "scale", at::kFloat, {heads}, device);
  if (row_scale.bias.defined()) check_tensor(row_scale.bias, "bias", at::kFloat, {heads}, device);
  if (!device.is_cpu()) return;
  const int32_t* n = pointer<int32_t>(num_keys);
  int32_t least = 1;
  int32_t most = 1;
  for (int64_t i = 0; i < batch * time; ++i) {
    least = std::min(least, n[i]);
    most = std::max(most, n[i]);
  }
  SSGPT_CHECK(least >= 1 && most <= row_scale.position.numel(),
              "num_keys in [{}, {}], but there are {} positions", least, most, row_scale.position.numel());
}

RopeShape check_rope(const at::Tensor& qkv, const at::Tensor& cos, const at::Tensor& sin,
                     const at::Tensor& num_keys, const RowScale& row_scale) {
  SSGPT_CHECK(qkv.dim() == 5 && qkv.size(2) == 3 && qkv.size(4) % 2 == 0,
              "qkv has shape [{}], expected (B, T, 3, N, H)", fmt::join(qkv.sizes(), ", "));
  const at::Device device = qkv.device();
  check_tensor(qkv, "qkv", qkv.scalar_type(), qkv.sizes(), device);
  const RopeShape shape = {qkv.size(0), qkv.size(1), qkv.size(3), qkv.size(4)};
  check_tensor(cos, "cos", at::kFloat, {shape.time, shape.head_dim / 2}, device);
  check_tensor(sin, "sin", at::kFloat, {shape.time, shape.head_dim / 2}, device);
  check_row_scale(num_keys, row_scale, shape.batch, shape.time, shape.heads, device);
  return shape;
}

template <typename T>
HeadsView<T> heads_view(const at::Tensor& d, const char* name, const at::Tensor& qkv,
                        const RopeShape& shape) {
  SSGPT_CHECK(d.scalar_type() == qkv.scalar_type() && d.device() == qkv.device(), "{} has dtype {} on {}",
              name, c10::toString(d.scalar_type()), d.device().str());
  const std::array<int64_t, 4> expected = {shape.batch, shape.heads, shape.time, shape.head_dim};
  SSGPT_CHECK(d.sizes() == at::IntArrayRef(expected) && (d.stride(3) == 1 || d.size(3) == 1),
              "{} has shape [{}], expected (B, N, T, H) with last stride 1", name,
              fmt::join(d.sizes(), ", "));
  return {.data = pointer<T>(d), .batch = d.stride(0), .head = d.stride(1), .time = d.stride(2)};
}

}  // namespace

void rope_forward(const at::Tensor& qkv, const at::Tensor& cos, const at::Tensor& sin,
                  const at::Tensor& num_keys, const RowScale& row_scale) {
  const RopeShape shape = check_rope(qkv, cos, sin, num_keys, row_scale);
  dispatch(
      qkv,
      [&](const auto& kernels, cuda::Stream stream) {
        using T = DataOf<decltype(kernels)>;
        kernels.rope_forward(pointer<T>(qkv), pointer<float>(cos), pointer<float>(sin),
                             pointer<int32_t>(num_keys), view_of(row_scale), shape.batch, shape.time,
                             shape.heads, shape.head_dim, stream);
      },
      [&](const auto& loops) {
        using T = DataOf<decltype(loops)>;
        for_rows(shape.batch * shape.time, 2 * shape.heads * shape.head_dim, [&](int64_t begin, int64_t end) {
          loops.rope_forward(pointer<T>(qkv), pointer<float>(cos), pointer<float>(sin),
                             pointer<int32_t>(num_keys), view_of(row_scale), shape.time, shape.heads,
                             shape.head_dim, begin, end);
        });
      });
}

void rope_backward(const at::Tensor& d_q, const at::Tensor& d_k, const at::Tensor& d_v, const at::Tensor& cos,
                   const at::Tensor& sin, const at::Tensor& num_keys, const RowScale& row_scale,
                   const at::Tensor& qkv, const at::Tensor& d_row_scale) {
  const RopeShape shape = check_rope(qkv, cos, sin, num_keys, row_scale);
  SSGPT_CHECK(d_row_scale.defined() != row_scale.identity(),
              "d_row_scale is given if and only if there is a row scale");
  if (d_row_scale.defined()) {
    check_tensor(d_row_scale, "d_row_scale", at::kFloat, {shape.batch, shape.time, shape.heads},
                 qkv.device());
  }
  const auto arguments = [&]<typename T>(const T* /*element*/) {
    return RopeBackwardArgs<T>{.d_q = heads_view<T>(d_q, "d_q", qkv, shape),
                               .d_k = heads_view<T>(d_k, "d_k", qkv, shape),
                               .d_v = heads_view<T>(d_v, "d_v", qkv, shape),
                               .cos = pointer<float>(cos),
                               .sin = pointer<float>(sin),
                               .num_keys = pointer<int32_t>(num_keys),
                               .row_scale = view_of(row_scale),
                               .qkv = pointer<T>(qkv),
                               .d_row_scale = pointer<float>(d_row_scale),
                               .time = shape.time,
                               .heads = shape.heads,
                               .head_dim = shape.head_dim};
  };
  dispatch(
      qkv,
      [&](const auto& kernels, cuda::Stream stream) {
        using T = DataOf<decltype(kernels)>;
        kernels.rope_backward(arguments(pointer<T>(qkv)), shape.batch, stream);
      },
      [&](const auto& loops) {
        using T = DataOf<decltype(loops)>;
        const RopeBackwardArgs<T> args = arguments(pointer<T>(qkv));
        for_rows(shape.batch * shape.time, 3 * shape.heads * shape.head_dim,
                 [&](int64_t begin, int64_t end) { loops.rope_backward(args, begin, end); });
      });
}

int64_t row_scale_scratch(at::Device device, int64_t heads, int64_t positions) {
  return device.is_cpu() ? 0 : cuda::kRowScaleParts * (2 * heads + positions);
}

void row_scale_backward(const at::Tensor& d_row_scale, const at::Tensor& num_keys, const RowScale& row_scale,
                        const at::Tensor& d_scale, const at::Tensor& d_bias, const at::Tensor& d_position,
                        const at::Tensor& scratch) {
  SSGPT_CHECK(d_row_scale.dim() == 3 && !row_scale.identity(),
              "d_row_scale (B, T, N) of a row scale is needed");
  const at::Device device = d_row_scale.device();
  const int64_t rows = d_row_scale.size(0) * d_row_scale.size(1);
  const int64_t heads = d_row_scale.size(2);
  check_tensor(d_row_scale, "d_row_scale", at::kFloat, d_row_scale.sizes(), device);
  check_row_scale(num_keys, row_scale, d_row_scale.size(0), d_row_scale.size(1), heads, device);
  if (d_scale.defined()) check_tensor(d_scale, "d_scale", at::kFloat, {heads}, device);
  if (d_bias.defined()) check_tensor(d_bias, "d_bias", at::kFloat, {heads}, device);
  if (d_position.defined()) {
    check_tensor(d_position, "d_position", at::kFloat, row_scale.position.sizes(), device);
  }
  SSGPT_CHECK(scratch.defined(), "there is no scratch");
  check_tensor(scratch, "scratch", at::kFloat, scratch.sizes(), device);
  const int64_t needed = row_scale_scratch(device, heads, row_scale.position.numel());
  SSGPT_CHECK(scratch.numel() >= needed, "scratch of {} elements, expected {}", scratch.numel(), needed);

  const RowScaleView view = view_of(row_scale);
  const float* d_c = pointer<float>(d_row_scale);
  const int32_t* n = pointer<int32_t>(num_keys);
  const auto on_gpu = [&] {
    cuda::table().row_scale_backward(d_c, n, view, pointer<float>(d_scale), pointer<float>(d_bias),
                                     pointer<float>(d_position), pointer<float>(scratch), rows, heads,
                                     cuda::current_stream());
  };
  const auto on_cpu = [&] {
    // One thread a head: few numbers, each sum in the order of the rows.
    at::parallel_for(0, heads, std::max<int64_t>(1, 65536 / std::max<int64_t>(1, rows)),
                     [&](int64_t begin, int64_t end) {
                       for (int64_t head = begin; head < end; ++head) {
                         double scale_sum = 0.0;
                         double bias_sum = 0.0;
                         for (int64_t row = 0; row < rows; ++row) {
                           const double d = d_c[row * heads + head];
                           scale_sum += d * static_cast<double>(view.position[n[row] - 1]);
                           bias_sum += d;
                         }
                         if (d_scale.defined())
                           pointer<float>(d_scale)[head] += static_cast<float>(scale_sum);
                         if (d_bias.defined()) pointer<float>(d_bias)[head] += static_cast<float>(bias_sum);
                       }
                     });
    if (!d_position.defined()) return;
    float* to = pointer<float>(d_position);
    for (int64_t row = 0; row < rows; ++row) {
      float sum = 0.0f;
      for (int64_t head = 0; head < heads; ++head) {
        sum += d_c[row * heads + head] * (view.scale != nullptr ? view.scale[head] : 1.0f);
      }
      to[n[row] - 1] += sum;
    }
  };
  dispatch(device, on_gpu, on_cpu);
}

}  // namespace ssgpt::kernels
