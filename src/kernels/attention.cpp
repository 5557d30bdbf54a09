#include "kernels/dispatch.h"
#include "kernels/ops.h"

#include <cmath>

namespace ssgpt::kernels {
namespace {

struct Shape {
  int64_t batch, time, heads, head_dim;
};

Shape check_attention(const at::Tensor& qkv, const at::Tensor& out, const at::Tensor& logsumexp,
                      const at::Tensor& num_keys, const at::Tensor& workspace) {
  SSGPT_CHECK(qkv.dim() == 5 && qkv.size(2) == 3, "qkv has shape [{}], expected (B, T, 3, N, H)",
              fmt::join(qkv.sizes(), ", "));
  const Shape shape = {qkv.size(0), qkv.size(1), qkv.size(3), qkv.size(4)};
  check_tensor(qkv, "qkv", qkv.scalar_type(), qkv.sizes());
  check_tensor(out, "out", qkv.scalar_type(), {shape.batch, shape.time, shape.heads, shape.head_dim});
  check_tensor(logsumexp, "logsumexp", at::kFloat, {shape.batch, shape.heads, shape.time});
  check_tensor(num_keys, "num_keys", at::kInt, {shape.batch, shape.time});
  check_tensor(workspace, "workspace", at::kFloat, {workspace.numel()});
  const int64_t needed = attention_workspace(shape.time, shape.head_dim);
  SSGPT_CHECK(workspace.numel() >= needed, "a workspace of {} elements, {} are needed", workspace.numel(),
              needed);
  const int32_t* n = pointer<int32_t>(num_keys);
  for (int64_t b = 0; b < shape.batch; ++b) {
    for (int64_t t = 0, first = 0; t < shape.time; ++t) {
      const int64_t next = t + 1 - n[b * shape.time + t];
      SSGPT_CHECK(next >= first && next <= t, "row {}: num_keys {} at time {} after a first key of {}", b,
                  n[b * shape.time + t], t, first);
      first = next;
    }
  }
  return shape;
}

// Calls body(batch, head, workspace of the thread) for each head of each sequence.
template <typename Body>
void for_heads(const Shape& shape, const at::Tensor& workspace, const Body& body) {
  const int64_t part = cpu::attention_workspace(shape.time, shape.head_dim);
  at::parallel_for(0, shape.batch * shape.heads, 1, [&](int64_t begin, int64_t end) {
    float* own = pointer<float>(workspace) + at::get_thread_num() * part;
    for (int64_t i = begin; i < end; ++i) body(i / shape.heads, i % shape.heads, own);
  });
}

float softmax_scale(const Shape& shape) {
  return static_cast<float>(1.0 / std::sqrt(static_cast<double>(shape.head_dim)));
}

}  // namespace

int64_t attention_workspace(int64_t time, int64_t head_dim) {
  return at::get_num_threads() * cpu::attention_workspace(time, head_dim);
}

void attention_forward(const at::Tensor& qkv, const at::Tensor& num_keys, const at::Tensor& workspace,
                       const at::Tensor& out, const at::Tensor& logsumexp) {
  const Shape shape = check_attention(qkv, out, logsumexp, num_keys, workspace);
  with_loops(qkv.scalar_type(), [&](const auto& loops) {
    using T = DataOf<decltype(loops)>;
    const cpu::AttentionForwardArgs<T> args = {.qkv = pointer<T>(qkv),
                                               .num_keys = pointer<int32_t>(num_keys),
                                               .out = pointer<T>(out),
                                               .logsumexp = pointer<float>(logsumexp),
                                               .softmax_scale = softmax_scale(shape),
                                               .time = shape.time,
                                               .heads = shape.heads,
                                               .head_dim = shape.head_dim};
    for_heads(shape, workspace, [&](int64_t batch, int64_t head, float* own) {
      loops.attention_forward(args, batch, head, own);
    });
  });
}

void attention_backward(const at::Tensor& d_out, const at::Tensor& qkv, const at::Tensor& out,
                        const at::Tensor& logsumexp, const at::Tensor& num_keys, const at::Tensor& workspace,
                        const at::Tensor& d_qkv) {
  const Shape shape = check_attention(qkv, out, logsumexp, num_keys, workspace);
  check_tensor(d_out, "d_out", qkv.scalar_type(), out.sizes());
  check_tensor(d_qkv, "d_qkv", qkv.scalar_type(), qkv.sizes());
  with_loops(qkv.scalar_type(), [&](const auto& loops) {
    using T = DataOf<decltype(loops)>;
    const cpu::AttentionBackwardArgs<T> args = {.d_out = pointer<T>(d_out),
                                                .qkv = pointer<T>(qkv),
                                                .out = pointer<T>(out),
                                                .logsumexp = pointer<float>(logsumexp),
                                                .num_keys = pointer<int32_t>(num_keys),
                                                .d_qkv = pointer<T>(d_qkv),
                                                .softmax_scale = softmax_scale(shape),
                                                .time = shape.time,
                                                .heads = shape.heads,
                                                .head_dim = shape.head_dim};
    for_heads(shape, workspace, [&](int64_t batch, int64_t head, float* own) {
      loops.attention_backward(args, batch, head, own);
    });
  });
}

}  // namespace ssgpt::kernels
