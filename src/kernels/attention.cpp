#include "kernels/cuda/library_attention.h"
#include "kernels/dispatch.h"
#include "kernels/ops.h"

#include <cmath>

namespace ssgpt::kernels {
namespace {

struct AttentionShape {
  int64_t batch, time, heads, head_dim;
};

AttentionShape check_attention(const at::Tensor& qkv, const at::Tensor& num_keys) {
  SSGPT_CHECK(qkv.dim() == 5 && qkv.size(2) == 3, "qkv has shape [{}], expected (B, T, 3, N, H)",
              fmt::join(qkv.sizes(), ", "));
  const AttentionShape shape = {qkv.size(0), qkv.size(1), qkv.size(3), qkv.size(4)};
  check_tensor(qkv, "qkv", qkv.scalar_type(), qkv.sizes(), qkv.device());
  check_tensor(num_keys, "num_keys", at::kInt, {shape.batch, shape.time}, qkv.device());
  return shape;
}

// Checks only what the CPU loops need.
void check_loops(const AttentionShape& shape, const at::Tensor& qkv, const AttentionResult& result,
                 const at::Tensor& num_keys, const at::Tensor& workspace) {
  check_tensor(result.out, "out", qkv.scalar_type(), {shape.batch, shape.time, shape.heads, shape.head_dim});
  check_tensor(result.logsumexp, "logsumexp", at::kFloat, {shape.batch, shape.heads, shape.time});
  check_tensor(workspace, "workspace", at::kFloat, {workspace.numel()});
  const int64_t needed = attention_workspace(at::kCPU, shape.time, shape.head_dim);
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
}

// Calls body(begin, end, workspace of this thread) for ranges of the heads of all sequences.
template <typename Body>
void for_heads(const AttentionShape& shape, const at::Tensor& workspace, const Body& body) {
  const int64_t part = cpu::attention_workspace(shape.time, shape.head_dim);
  at::parallel_for(0, shape.batch * shape.heads, 1, [&](int64_t begin, int64_t end) {
    float* own = pointer<float>(workspace) + at::get_thread_num() * part;
    body(begin, end, own);
  });
}

float softmax_scale(const AttentionShape& shape) {
  return static_cast<float>(1.0 / std::sqrt(static_cast<double>(shape.head_dim)));
}

}  // namespace

int64_t attention_workspace(at::Device device, int64_t time, int64_t head_dim) {
  return device.is_cpu() ? at::get_num_threads() * cpu::attention_workspace(time, head_dim) : 0;
}

void attention_forward(const at::Tensor& qkv, const Spans& spans, AttentionBackend backend,
                       const at::Tensor& workspace, AttentionResult& result) {
  const AttentionShape shape = check_attention(qkv, spans.num_keys);
  const auto on_gpu = [&] {
    result = cuda::library_attention_forward(qkv, spans, backend);
  };
  const auto on_cpu = [&] {
    check_loops(shape, qkv, result, spans.num_keys, workspace);
    with_loops(qkv.scalar_type(), [&](const auto& loops) {
      using T = DataOf<decltype(loops)>;
      const cpu::AttentionForwardArgs<T> args = {.qkv = pointer<T>(qkv),
                                                 .num_keys = pointer<int32_t>(spans.num_keys),
                                                 .out = pointer<T>(result.out),
                                                 .logsumexp = pointer<float>(result.logsumexp),
                                                 .softmax_scale = softmax_scale(shape),
                                                 .time = shape.time,
                                                 .heads = shape.heads,
                                                 .head_dim = shape.head_dim};
      for_heads(shape, workspace, [&](int64_t begin, int64_t end, float* own) {
        loops.attention_forward(args, begin, end, own);
      });
    });
  };
  dispatch(qkv.device(), on_gpu, on_cpu);
}

AttentionInputGradients attention_backward(const at::Tensor& d_out, const at::Tensor& qkv,
                                           const AttentionResult& result, const Spans& spans,
                                           AttentionBackend backend, const at::Tensor& workspace,
                                           const at::Tensor& d_qkv) {
  const AttentionShape shape = check_attention(qkv, spans.num_keys);
  check_tensor(d_out, "d_out", qkv.scalar_type(), result.out.sizes(), qkv.device());
  const auto on_gpu = [&] {
    return cuda::library_attention_backward(d_out, qkv, result, spans, backend);
  };
  const auto on_cpu = [&] {
    check_loops(shape, qkv, result, spans.num_keys, workspace);
    check_tensor(d_qkv, "d_qkv", qkv.scalar_type(), qkv.sizes());
    with_loops(qkv.scalar_type(), [&](const auto& loops) {
      using T = DataOf<decltype(loops)>;
      const cpu::AttentionBackwardArgs<T> args = {.d_out = pointer<T>(d_out),
                                                  .qkv = pointer<T>(qkv),
                                                  .out = pointer<T>(result.out),
                                                  .logsumexp = pointer<float>(result.logsumexp),
                                                  .num_keys = pointer<int32_t>(spans.num_keys),
                                                  .d_qkv = pointer<T>(d_qkv),
                                                  .softmax_scale = softmax_scale(shape),
                                                  .time = shape.time,
                                                  .heads = shape.heads,
                                                  .head_dim = shape.head_dim};
      for_heads(shape, workspace, [&](int64_t begin, int64_t end, float* own) {
        loops.attention_backward(args, begin, end, own);
      });
    });
    const auto part = [&d_qkv](int64_t index) {
      return d_qkv.select(2, index).transpose(1, 2);
    };
    return AttentionInputGradients{part(0), part(1), part(2)};
  };
  return dispatch(qkv.device(), on_gpu, on_cpu);
}

}  // namespace ssgpt::kernels
