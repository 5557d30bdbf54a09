#include "kernels/dispatch.h"
#include "kernels/ops.h"

#include <cmath>

namespace ssgpt::kernels {
namespace {

// Returns the query-key pairs per head, on which the split over threads is based.
int64_t check_num_keys(const at::Tensor& num_keys, int64_t batch, int64_t time, int64_t position) {
  const int32_t* n = pointer<int32_t>(num_keys);
  int64_t sum = 0;
  for (int64_t i = 0; i < batch * time; ++i) {
    const int64_t most = position + i % time + 1;
    SSGPT_CHECK(n[i] >= 1 && n[i] <= most, "num_keys {} of row {}, expected 1 to {}", n[i], i, most);
    sum += n[i];
  }
  return sum / batch;
}

template <typename T>
CachedAttentionArgs<T> arguments(const at::Tensor& qkv, const at::Tensor& num_keys, int64_t position,
                                 const at::Tensor& keys, const at::Tensor& values, const at::Tensor& scratch,
                                 const at::Tensor& out) {
  const int64_t head_dim = qkv.size(4);
  return {.qkv = pointer<T>(qkv),
          .num_keys = pointer<int32_t>(num_keys),
          .keys = pointer<T>(keys),
          .values = pointer<T>(values),
          .out = pointer<T>(out),
          .scratch = pointer<float>(scratch),
          .scale = static_cast<float>(1.0 / std::sqrt(static_cast<double>(head_dim))),
          .position = position,
          .time = qkv.size(1),
          .heads = qkv.size(3),
          .head_dim = head_dim,
          .capacity = keys.size(2)};
}

}  // namespace

void cached_attention_forward(const at::Tensor& qkv, const at::Tensor& num_keys, int64_t position,
                              const at::Tensor& keys, const at::Tensor& values, const at::Tensor& scratch,
                              const at::Tensor& out) {
  SSGPT_CHECK(qkv.dim() == 5 && qkv.size(2) == 3, "qkv has shape [{}], expected (B, T, 3, N, H)",
              fmt::join(qkv.sizes(), ", "));
  SSGPT_CHECK(keys.dim() == 4, "keys have {} dimensions, expected (B, N, C, H)", keys.dim());
  const int64_t batch = qkv.size(0);
  const int64_t time = qkv.size(1);
  const int64_t heads = qkv.size(3);
  const int64_t head_dim = qkv.size(4);
  const int64_t capacity = keys.size(2);
  const at::Device device = qkv.device();
  SSGPT_CHECK(position >= 0 && position + time <= capacity, "positions [{}, {}) of a cache of {}", position,
              position + time, capacity);
  check_tensor(qkv, "qkv", qkv.scalar_type(), qkv.sizes(), device);
  check_tensor(num_keys, "num_keys", at::kInt, {batch, time}, device);
  check_tensor(keys, "keys", qkv.scalar_type(), {batch, heads, capacity, head_dim}, device);
  check_tensor(values, "values", qkv.scalar_type(), keys.sizes(), device);
  check_tensor(scratch, "scratch", at::kFloat, {batch, heads, capacity + head_dim}, device);
  check_tensor(out, "out", qkv.scalar_type(), {batch, time, heads, head_dim}, device);
  dispatch(
      qkv,
      [&](const auto& kernels, cuda::Stream stream) {
        check_vectors(qkv, keys, values, out);
        using T = DataOf<decltype(kernels)>;
        kernels.cached_attention(arguments<T>(qkv, num_keys, position, keys, values, scratch, out), batch,
                                 stream);
      },
      [&](const auto& loops) {
        const int64_t products = check_num_keys(num_keys, batch, time, position) * head_dim;
        using T = DataOf<decltype(loops)>;
        const auto args = arguments<T>(qkv, num_keys, position, keys, values, scratch, out);
        for_products(batch * heads, products,
                     [&](int64_t begin, int64_t end) { loops.cached_attention(args, begin, end); });
      });
}

}  // namespace ssgpt::kernels
