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

// Checks the row scale and num_keys, on a CPU including its values, since each indexes `position`.
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

void check_rotation(const Rotation& rotation, const RopeShape& shape, at::Device device) {
  SSGPT_CHECK(rotation.cos.defined(), "cos is undefined");
  SSGPT_CHECK(rotation.cos.dim() == 2 && 2 * rotation.cos.size(1) <= shape.head_dim,
              "cos has shape [{}], expected (T, R/2) with R in [0, {}]",
              fmt::join(rotation.cos.sizes(), ", "), shape.head_dim);
  const int64_t pairs = rotation.cos.size(1);
  check_tensor(rotation.cos, "cos", at::kFloat, {shape.time, pairs}, device);
  check_tensor(rotation.sin, "sin", at::kFloat, {shape.time, pairs}, device);
}

void check_qk_norm(const QkNorm& norm, const at::Tensor& qkv, const RopeShape& shape) {
  if (norm.identity()) return;
  const at::ScalarType dtype = qkv.scalar_type();
  check_tensor(norm.q_gain, "q_gain", dtype, {shape.head_dim}, qkv.device());
  check_tensor(norm.k_gain, "k_gain", dtype, {shape.head_dim}, qkv.device());
  if (norm.raw.defined()) {
    check_tensor(norm.raw, "raw", dtype, {shape.batch, shape.time, 2, shape.heads, shape.head_dim},
                 qkv.device());
  }
  SSGPT_CHECK(!qkv.is_cuda() || shape.head_dim <= cuda::kMostQkNormDims,
              "heads of {} dimensions with a norm of queries and keys, on a GPU at most {}", shape.head_dim,
              cuda::kMostQkNormDims);
}

RopeShape check_rope(const at::Tensor& qkv, const Rotation& rotation, const at::Tensor& num_keys,
                     const RowScale& row_scale, const QkNorm& norm) {
  SSGPT_CHECK(qkv.dim() == 5 && qkv.size(2) == 3 && qkv.size(4) % 2 == 0,
              "qkv has shape [{}], expected (B, T, 3, N, H)", fmt::join(qkv.sizes(), ", "));
  const at::Device device = qkv.device();
  check_tensor(qkv, "qkv", qkv.scalar_type(), qkv.sizes(), device);
  const RopeShape shape = {qkv.size(0), qkv.size(1), qkv.size(3), qkv.size(4)};
  check_rotation(rotation, shape, device);
  check_row_scale(num_keys, row_scale, shape.batch, shape.time, shape.heads, device);
  check_qk_norm(norm, qkv, shape);
  return shape;
}

template <typename T>
RopeArgs<T> rope_args(const at::Tensor& qkv, const Rotation& rotation, const at::Tensor& num_keys,
                      const RowScale& row_scale, const QkNorm& norm, const RopeShape& shape) {
  return {.qkv = pointer<T>(qkv),
          .rotation = {.cos = pointer<float>(rotation.cos),
                       .sin = pointer<float>(rotation.sin),
                       .rest = static_cast<float>(rotation.rest),
                       .dims = 2 * rotation.cos.size(1)},
          .num_keys = pointer<int32_t>(num_keys),
          .row_scale = view_of(row_scale),
          .norm = {.q_gain = pointer<T>(norm.q_gain),
                   .k_gain = pointer<T>(norm.k_gain),
                   .eps = static_cast<float>(norm.eps),
                   .raw = pointer<T>(norm.raw)},
          .time = shape.time,
          .heads = shape.heads,
          .head_dim = shape.head_dim};
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

void check_norm_gradients(const QkNorm& norm, const QkNormGradients& gradients, const RopeShape& shape,
                          at::Device device) {
  SSGPT_CHECK(gradients.q_gain.defined() != norm.identity(),
              "gradients of gains are given if and only if there is a norm");
  if (norm.identity()) return;
  SSGPT_CHECK(norm.raw.defined(), "there are no q and k from before the norm");
  check_tensor(gradients.q_gain, "q_gain's gradient", at::kFloat, {shape.head_dim}, device);
  check_tensor(gradients.k_gain, "k_gain's gradient", at::kFloat, {shape.head_dim}, device);
  check_tensor(gradients.scratch, "scratch", at::kFloat,
               {2, num_row_chunks(shape.batch * shape.time), shape.head_dim}, device);
}

template <typename T>
void backward_on_cpu(const cpu::DataLoops<T>& loops, const RopeBackwardArgs<T>& args,
                     const QkNormGradients& gradients, const RopeShape& shape) {
  const int64_t rows = shape.batch * shape.time;
  const int64_t row_elements = 3 * shape.heads * shape.head_dim;
  if (args.rope.norm.q_gain == nullptr) {
    for_rows(rows, row_elements,
             [&](int64_t begin, int64_t end) { loops.rope_backward(args, nullptr, nullptr, begin, end); });
    return;
  }
  const int64_t chunks = num_row_chunks(rows);
  float* q_partials = pointer<float>(gradients.scratch);
  float* k_partials = q_partials + chunks * shape.head_dim;
  std::fill_n(q_partials, gradients.scratch.numel(), 0.0f);
  for_rows(chunks, cuda::kNormChunkRows * row_elements, [&](int64_t begin, int64_t end) {
    for (int64_t chunk = begin; chunk < end; ++chunk) {
      const int64_t first = chunk * cuda::kNormChunkRows;
      loops.rope_backward(args, q_partials + chunk * shape.head_dim, k_partials + chunk * shape.head_dim,
                          first, std::min(first + cuda::kNormChunkRows, rows));
    }
  });
  add_chunks(q_partials, chunks, shape.head_dim, pointer<float>(gradients.q_gain));
  add_chunks(k_partials, chunks, shape.head_dim, pointer<float>(gradients.k_gain));
}

}  // namespace

void rope_forward(const at::Tensor& qkv, const Rotation& rotation, const at::Tensor& num_keys,
                  const RowScale& row_scale, const QkNorm& norm) {
  const RopeShape shape = check_rope(qkv, rotation, num_keys, row_scale, norm);
  const bool is_rotated = rotation.cos.size(1) > 0 || rotation.rest != 1.0;
  if (!is_rotated && row_scale.identity() && norm.identity()) return;
  dispatch(
      qkv,
      [&](const auto& kernels, cuda::Stream stream) {
        using T = DataOf<decltype(kernels)>;
        kernels.rope_forward(rope_args<T>(qkv, rotation, num_keys, row_scale, norm, shape), shape.batch,
                             stream);
      },
      [&](const auto& loops) {
        using T = DataOf<decltype(loops)>;
        const RopeArgs<T> args = rope_args<T>(qkv, rotation, num_keys, row_scale, norm, shape);
        for_rows(shape.batch * shape.time, 2 * shape.heads * shape.head_dim,
                 [&](int64_t begin, int64_t end) { loops.rope_forward(args, begin, end); });
      });
}

void rope_backward(const at::Tensor& d_q, const at::Tensor& d_k, const at::Tensor& d_v,
                   const Rotation& rotation, const at::Tensor& num_keys, const RowScale& row_scale,
                   const QkNorm& norm, const at::Tensor& qkv, const at::Tensor& d_row_scale,
                   const QkNormGradients& norm_gradients) {
  const RopeShape shape = check_rope(qkv, rotation, num_keys, row_scale, norm);
  check_norm_gradients(norm, norm_gradients, shape, qkv.device());
  SSGPT_CHECK(d_row_scale.defined() != row_scale.identity(),
              "d_row_scale is given if and only if there is a row scale");
  if (d_row_scale.defined()) {
    check_tensor(d_row_scale, "d_row_scale", at::kFloat, {shape.batch, shape.time, shape.heads},
                 qkv.device());
  }
  const auto arguments = [&]<typename T>(const T* /*element*/) {
    return RopeBackwardArgs<T>{.rope = rope_args<T>(qkv, rotation, num_keys, row_scale, norm, shape),
                               .d_q = heads_view<T>(d_q, "d_q", qkv, shape),
                               .d_k = heads_view<T>(d_k, "d_k", qkv, shape),
                               .d_v = heads_view<T>(d_v, "d_v", qkv, shape),
                               .d_row_scale = pointer<float>(d_row_scale)};
  };
  dispatch(
      qkv,
      [&](const auto& kernels, cuda::Stream stream) {
        using T = DataOf<decltype(kernels)>;
        kernels.rope_backward(arguments(pointer<T>(qkv)),
                              {.d_q_gain = pointer<float>(norm_gradients.q_gain),
                               .d_k_gain = pointer<float>(norm_gradients.k_gain),
                               .scratch = pointer<float>(norm_gradients.scratch)},
                              shape.batch, stream);
      },
      [&](const auto& loops) {
        using T = DataOf<decltype(loops)>;
        backward_on_cpu(loops, arguments(pointer<T>(qkv)), norm_gradients, shape);
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
    // One thread per head: few numbers, each summed in row order.
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
