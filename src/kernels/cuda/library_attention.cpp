#include "kernels/cuda/library_attention.h"

#include "core/check.h"

#include <array>
#include <optional>
#include <tuple>
#include <vector>

#include <ATen/Context.h>
#include <ATen/ops/_efficient_attention_backward.h>
#include <ATen/ops/_efficient_attention_forward.h>
#include <ATen/ops/_flash_attention_backward.h>
#include <ATen/ops/_flash_attention_forward.h>
#include <ATen/ops/_scaled_dot_product_cudnn_attention.h>
#include <ATen/ops/_scaled_dot_product_cudnn_attention_backward.h>

namespace ssgpt::kernels::cuda {
namespace {

constexpr double kNoDropout = 0.0;
constexpr int64_t kCausalMask = 1;  // the memory-efficient kernels' code for it

// cuDNN does not support a single key.
AttentionBackend usable(AttentionBackend backend, int64_t time) {
  return backend == AttentionBackend::kCudnn && time == 1 ? AttentionBackend::kFlash : backend;
}

struct Problem {
  Problem(const at::Tensor& qkv, const Spans& spans, AttentionBackend backend)
      : batch(qkv.size(0)), time(qkv.size(1)), heads(qkv.size(3)), head_dim(qkv.size(4)) {
    if (spans.starts.defined()) {
      starts = spans.starts;
      longest = spans.longest;
      shape = {batch * time, heads, head_dim};
      if (backend == AttentionBackend::kEfficient) shape.insert(shape.begin(), 1);
    } else {
      longest = time;
      shape = {batch, time, heads, head_dim};
    }
    const at::Tensor rows = qkv.view({batch * time, 3, heads, head_dim});
    for (size_t i = 0; i < parts.size(); ++i) {
      parts[i] = rows.select(1, static_cast<int64_t>(i)).view(shape);
    }
  }
  at::Tensor by_batch(const at::Tensor& x) const { return x.view({batch, time, heads, head_dim}); }

  int64_t batch, time, heads, head_dim;
  std::vector<int64_t> shape;        // of q, k, v and out, as the kernel expects them
  std::array<at::Tensor, 3> parts;   // q, k, v: views
  std::optional<at::Tensor> starts;  // first rows of the spans (cu_seqlens)
  int64_t longest;
};

at::Tensor or_undefined(const std::optional<at::Tensor>& tensor) {
  return tensor.value_or(at::Tensor());
}

AttentionResult cudnn_forward(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v) {
  const auto [out, logsumexp, starts_q, starts_k, time_q, time_k, seed, offset, mask] =
      at::_scaled_dot_product_cudnn_attention(q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2),
                                              /*attn_bias=*/std::nullopt, /*compute_log_sumexp=*/true,
                                              kNoDropout, /*is_causal=*/true);
  return {.out = out.transpose(1, 2), .logsumexp = logsumexp, .extra = {seed, offset}};
}

AttentionInputGradients cudnn_backward(const at::Tensor& d_out, const at::Tensor& q, const at::Tensor& k,
                                       const at::Tensor& v, const AttentionResult& result) {
  const auto [d_q, d_k, d_v] = at::_scaled_dot_product_cudnn_attention_backward(
      d_out.transpose(1, 2), q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2),
      result.out.transpose(1, 2), result.logsumexp, result.extra[0], result.extra[1],
      /*attn_bias=*/at::Tensor(), /*cum_seq_q=*/at::Tensor(), /*cum_seq_k=*/at::Tensor(), q.size(1),
      k.size(1), kNoDropout, /*is_causal=*/true);
  return {d_q, d_k, d_v};
}

}  // namespace

AttentionResult library_attention_forward(const at::Tensor& qkv, const Spans& spans,
                                          AttentionBackend asked_for) {
  const AttentionBackend backend = usable(asked_for, qkv.size(1));
  const Problem problem(qkv, spans, backend);
  const auto& [q, k, v] = problem.parts;
  AttentionResult result;
  switch (backend) {
    case AttentionBackend::kCudnn:
      SSGPT_CHECK(!problem.starts, "cuDNN's attention does not support spans");
      result = cudnn_forward(q, k, v);
      break;
    case AttentionBackend::kFlash: {
      const auto [out, logsumexp, seed, unused, mask] = at::_flash_attention_forward(
          q, k, v, problem.starts, problem.starts, problem.longest, problem.longest, kNoDropout,
          /*is_causal=*/true, /*return_debug_mask=*/false);
      result = {.out = out, .logsumexp = logsumexp, .extra = {seed, unused}};
      break;
    }
    case AttentionBackend::kEfficient: {
      const auto [out, logsumexp, seed, offset, time_q, time_k] = at::_efficient_attention_forward(
          q, k, v, /*bias=*/std::nullopt, problem.starts, problem.starts, problem.longest, problem.longest,
          kNoDropout, kCausalMask, /*compute_log_sumexp=*/true);
      result = {.out = out, .logsumexp = logsumexp, .extra = {seed, offset}};
      break;
    }
  }
  SSGPT_CHECK(result.out.is_contiguous(), "attention gives a result that is not (B, T, N, H) in memory");
  result.out = problem.by_batch(result.out);
  return result;
}

AttentionInputGradients library_attention_backward(const at::Tensor& d_out, const at::Tensor& qkv,
                                                   const AttentionResult& result, const Spans& spans,
                                                   AttentionBackend asked_for) {
  const AttentionBackend backend = usable(asked_for, qkv.size(1));
  const Problem problem(qkv, spans, backend);
  const auto& [q, k, v] = problem.parts;
  if (backend == AttentionBackend::kCudnn) return cudnn_backward(d_out, q, k, v, result);

  const at::Tensor out = result.out.view(problem.shape);
  const at::Tensor d = d_out.view(problem.shape);
  AttentionInputGradients gradients;
  if (backend == AttentionBackend::kFlash) {
    std::tie(gradients.d_q, gradients.d_k, gradients.d_v) = at::_flash_attention_backward(
        d, q, k, v, out, result.logsumexp, or_undefined(problem.starts), or_undefined(problem.starts),
        problem.longest, problem.longest, kNoDropout, /*is_causal=*/true, result.extra[0], result.extra[1]);
  } else {
    // If deterministic, keep the keys in one part: then no two blocks add to the same gradient in an order
    // that varies from run to run. Otherwise use as many parts as fill the GPU.
    const std::optional<int64_t> parts =
        at::globalContext().deterministicAlgorithms() ? std::optional<int64_t>(1) : std::nullopt;
    at::Tensor d_bias;
    std::tie(gradients.d_q, gradients.d_k, gradients.d_v, d_bias) = at::_efficient_attention_backward(
        d, q, k, v, /*bias=*/std::nullopt, out, problem.starts, problem.starts, problem.longest,
        problem.longest, result.logsumexp, kNoDropout, result.extra[0], result.extra[1], kCausalMask,
        /*bias_requires_grad=*/false, /*scale=*/std::nullopt, parts);
  }
  for (at::Tensor* gradient : {&gradients.d_q, &gradients.d_k, &gradients.d_v}) {
    *gradient = problem.by_batch(*gradient).transpose(1, 2);
  }
  return gradients;
}

}  // namespace ssgpt::kernels::cuda
