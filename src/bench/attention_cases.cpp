#include "bench/attention_cases.h"

#include "bench/tensor_maker.h"
#include "kernels/ops.h"
#include "model/positions.h"
#include "model/rope.h"
#include "model/work.h"

#include <array>
#include <memory>
#include <optional>
#include <tuple>

#include <ATen/TensorOperators.h>
#include <ATen/ops/_scaled_dot_product_efficient_attention.h>
#include <ATen/ops/_scaled_dot_product_efficient_attention_backward.h>
#include <ATen/ops/_scaled_dot_product_flash_attention.h>
#include <ATen/ops/_scaled_dot_product_flash_attention_backward.h>
#include <ATen/ops/_scaled_dot_product_flash_attention_for_cpu.h>
#include <ATen/ops/_scaled_dot_product_flash_attention_for_cpu_backward.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/rms_norm.h>
#include <ATen/ops/zeros_like.h>

namespace ssgpt::bench {
namespace {

constexpr double kNoDropout = 0.0;

struct Rotation {
  Rotation(const KernelShape& s, at::Device device)
      : tables(model::make_rotation(s.time, s.head_dim(), 10000.0, device)),
        num_keys(model::count_keys(s.batch, s.time).to(device)),
        cos(at::cat({tables.cos, tables.cos}, -1).unsqueeze(1)),
        sin(at::cat({tables.sin, tables.sin}, -1).unsqueeze(1)),
        row_scale{.position = model::make_position_table(config::AttentionKind::kSsmax,
                                                         {.trained_length = s.time}, s.time, device),
                  .scale = at::ones({s.heads}, at::TensorOptions(device).dtype(at::kFloat)),
                  .bias = {}} {}
  // Rotates by `sign` times the angles; -1 rotates back. In fp32, rounded to the dtype of x.
  at::Tensor rotate(const at::Tensor& x, double sign) const {
    const int64_t half = x.size(-1) / 2;
    const at::Tensor turned = at::cat({x.narrow(-1, half, half).neg(), x.narrow(-1, 0, half)}, -1);
    return (x * cos + turned * sin * sign).to(x.scalar_type());
  }
  at::Tensor factor() const {  // (1, T, N, 1)
    return (row_scale.position.unsqueeze(-1) * row_scale.scale).unsqueeze(-1).unsqueeze(0);
  }

  kernels::Rotation tables;
  at::Tensor num_keys;
  at::Tensor cos, sin;  // (T, 1, H)
  kernels::RowScale row_scale;
};

enum class RopeVariant { kPlain, kScaled, kNormed };

// The norm of queries and keys, both in one tensor (B, T, 2, N, H).
struct NormOfHeads {
  NormOfHeads(const KernelShape& s, const TensorMaker& make)
      : norm{.q_gain = make.random({s.head_dim()}),
             .k_gain = make.random({s.head_dim()}),
             .eps = 1e-5,
             .raw = make.random({s.batch, s.time, 2, s.heads, s.head_dim()})},
        gradients{.q_gain = make.zeros_fp32({s.head_dim()}),
                  .k_gain = make.zeros_fp32({s.head_dim()}),
                  .scratch = make.zeros_fp32({2, kernels::num_row_chunks(s.rows()), s.head_dim()})},
        plain_d_q_gain(make.zeros_fp32({s.head_dim()})),
        plain_d_k_gain(make.zeros_fp32({s.head_dim()})) {}
  // Returns the gradient of x; d_gain += gradient of the gain.
  at::Tensor back(const at::Tensor& d_out, const at::Tensor& x, const at::Tensor& gain,
                  at::Tensor d_gain) const {
    const at::Tensor rstd =
        x.to(at::kFloat).square().mean(-1, /*keepdim=*/true).add_(norm.eps).rsqrt_().to(x.scalar_type());
    const at::Tensor normed = x * rstd;
    d_gain.add_((d_out * normed).sum(at::IntArrayRef{0, 1, 2}));
    const at::Tensor g = d_out * gain;
    return (g - normed * (g * normed).mean(-1, /*keepdim=*/true)) * rstd;
  }

  kernels::QkNorm norm;
  kernels::QkNormGradients gradients;
  at::Tensor plain_d_q_gain, plain_d_k_gain;
};

KernelRun rope_forward(const KernelShape& s, const model::Execution& execution, RopeVariant variant) {
  const TensorMaker make(execution);
  const bool scaled = variant == RopeVariant::kScaled;
  const bool is_normed = variant == RopeVariant::kNormed;
  const at::Tensor qkv = make.random({s.batch, s.time, 3, s.heads, s.head_dim()});
  const Rotation rotation(s, execution.device);
  const kernels::RowScale row_scale = scaled ? rotation.row_scale : kernels::RowScale();
  const kernels::QkNorm norm = is_normed ? NormOfHeads(s, make).norm : kernels::QkNorm();
  const at::Tensor q = qkv.select(2, 0);
  const at::Tensor k = qkv.select(2, 1);
  return {model::traffic(q, q, k, k, norm.raw),
          [=] {
            kernels::rope_forward(qkv, rotation.tables, rotation.num_keys, row_scale, norm);
            return q;
          },
          [=, head_dim = s.head_dim()] {
            const auto normed = [&](const at::Tensor& x, const at::Tensor& gain) {
              return is_normed ? at::rms_norm(x, {head_dim}, gain, norm.eps) : x;
            };
            rotation.rotate(normed(k, norm.k_gain), 1.0);
            const at::Tensor rotated = rotation.rotate(normed(q, norm.q_gain), 1.0);
            return scaled ? (rotated * rotation.factor()).to(q.scalar_type()) : rotated;
          }};
}

KernelRun rope_backward(const KernelShape& s, const model::Execution& execution, RopeVariant variant) {
  const TensorMaker make(execution);
  const bool scaled = variant == RopeVariant::kScaled;
  const at::Tensor qkv = make.random({s.batch, s.time, 3, s.heads, s.head_dim()});
  const at::Tensor d_qkv = make.random({s.batch, s.time, 3, s.heads, s.head_dim()});
  const Rotation rotation(s, execution.device);
  const kernels::RowScale row_scale = scaled ? rotation.row_scale : kernels::RowScale();
  const at::Tensor d_row_scale = scaled ? make.zeros_fp32({s.batch, s.time, s.heads}) : at::Tensor();
  const std::optional<NormOfHeads> of_heads =
      variant == RopeVariant::kNormed ? std::optional(NormOfHeads(s, make)) : std::nullopt;
  const kernels::QkNorm norm = of_heads ? of_heads->norm : kernels::QkNorm();
  const kernels::QkNormGradients gradients = of_heads ? of_heads->gradients : kernels::QkNormGradients();
  const auto part = [d_qkv](int64_t index) {
    return d_qkv.select(2, index).transpose(1, 2);
  };
  const at::Tensor q = qkv.select(2, 0);
  return {
      model::traffic(d_qkv, qkv, scaled ? q : norm.raw),
      [=] {
        kernels::rope_backward(part(0), part(1), part(2), rotation.tables, rotation.num_keys, row_scale, norm,
                               qkv, d_row_scale, gradients);
        return qkv;
      },
      [=] {
        at::Tensor d_q = d_qkv.select(2, 0);
        if (scaled) {
          (d_q * q).sum(-1).div_(rotation.factor().squeeze(-1).clamp_min(1e-20));
          d_q = (d_q * rotation.factor()).to(q.scalar_type());
        }
        at::Tensor turned_q = rotation.rotate(d_q, -1.0);
        at::Tensor turned_k = rotation.rotate(d_qkv.select(2, 1), -1.0);
        if (of_heads) {
          turned_q = of_heads->back(turned_q, norm.raw.select(2, 0), norm.q_gain, of_heads->plain_d_q_gain);
          turned_k = of_heads->back(turned_k, norm.raw.select(2, 1), norm.k_gain, of_heads->plain_d_k_gain);
        }
        return at::cat({turned_q, turned_k, d_qkv.select(2, 2)}, 2);
      }};
}

KernelRun row_scale_backward(const KernelShape& s, const model::Execution& execution) {
  const TensorMaker make(execution);
  const at::Tensor d_row_scale = make.random_fp32({s.batch, s.time, s.heads});
  const Rotation rotation(s, execution.device);
  const at::Tensor d_scale = make.zeros_fp32({s.heads});
  const at::Tensor plain_d_scale = make.zeros_fp32({s.heads});
  const at::Tensor scratch = make.zeros_fp32({kernels::row_scale_scratch(execution.device, s.heads, s.time)});

  return {model::traffic(d_row_scale, rotation.num_keys),
          [=] {
            kernels::row_scale_backward(d_row_scale, rotation.num_keys, rotation.row_scale, d_scale, {}, {},
                                        scratch);
            return d_scale;
          },
          [=] {
            return at::Tensor(plain_d_scale)
                .add_((d_row_scale * rotation.row_scale.position.unsqueeze(-1)).flatten(0, 1).sum(0));
          }};
}

// ATen's attention: one for a CPU, and one per dtype for a GPU.
struct PlainAttention {
  at::Tensor q, k, v;  // (B, N, T, H)
  bool cpu, flash;

  explicit PlainAttention(const at::Tensor& qkv)
      : q(qkv.select(2, 0).transpose(1, 2)),
        k(qkv.select(2, 1).transpose(1, 2)),
        v(qkv.select(2, 2).transpose(1, 2)),
        cpu(qkv.device().is_cpu()),
        flash(qkv.scalar_type() == at::kBFloat16) {}

  // out (B, N, T, H), log-sum-exp, and on a GPU the two RNG states of the unused dropout.
  std::array<at::Tensor, 4> forward() const {
    if (cpu) {
      const auto [out, logsumexp] =
          at::_scaled_dot_product_flash_attention_for_cpu(q, k, v, kNoDropout, /*is_causal=*/true);
      return {out, logsumexp};
    }
    if (flash) {
      const auto [out, logsumexp, starts_q, starts_k, time_q, time_k, seed, offset, mask] =
          at::_scaled_dot_product_flash_attention(q, k, v, kNoDropout, /*is_causal=*/true);
      return {out, logsumexp, seed, offset};
    }
    const auto [out, logsumexp, seed, offset] = at::_scaled_dot_product_efficient_attention(
        q, k, v, /*attn_bias=*/std::nullopt, /*compute_log_sumexp=*/true, kNoDropout, /*is_causal=*/true);
    return {out, logsumexp, seed, offset};
  }

  at::Tensor d_q(const at::Tensor& d_out, const std::array<at::Tensor, 4>& saved) const {
    const auto& [out, logsumexp, seed, offset] = saved;
    if (cpu) {
      return std::get<0>(at::_scaled_dot_product_flash_attention_for_cpu_backward(
          d_out, q, k, v, out, logsumexp, kNoDropout, /*is_causal=*/true));
    }
    if (flash) {
      return std::get<0>(at::_scaled_dot_product_flash_attention_backward(
          d_out, q, k, v, out, logsumexp, /*cum_seq_q=*/at::Tensor(), /*cum_seq_k=*/at::Tensor(), q.size(2),
          k.size(2), kNoDropout, /*is_causal=*/true, seed, offset));
    }
    return std::get<0>(at::_scaled_dot_product_efficient_attention_backward(
        d_out, q, k, v, /*attn_bias=*/at::Tensor(), out, logsumexp, seed, offset, kNoDropout,
        {true, true, true, false}, /*is_causal=*/true));
  }
};

KernelRun attention(const KernelShape& s, const model::Execution& execution, bool backward) {
  const TensorMaker make(execution);
  const bool cpu = execution.device.is_cpu();
  const auto backend = execution.attention_backend;
  const at::Tensor qkv = make.random({s.batch, s.time, 3, s.heads, s.head_dim()});
  const kernels::Spans spans = {
      .num_keys = model::count_keys(s.batch, s.time).to(execution.device), .starts = {}, .longest = 0};
  const at::Tensor workspace =
      make.zeros_fp32({kernels::attention_workspace(execution.device, s.time, s.head_dim())});
  const at::Tensor d_out = make.random({s.batch, s.time, s.heads, s.head_dim()});
  const auto result = std::make_shared<kernels::AttentionResult>();
  if (cpu) {
    result->out = make.zeros({s.batch, s.time, s.heads, s.head_dim()});
    result->logsumexp = make.zeros_fp32({s.batch, s.heads, s.time});
  }
  const PlainAttention plain(qkv);
  const double bytes_forward = model::traffic(qkv, d_out).bytes;  // the output has the size of its gradient
  if (!backward) {
    return {model::attention_work(/*products=*/2, s.batch, s.time, s.heads, s.head_dim(), bytes_forward),
            [=] {
              kernels::attention_forward(qkv, spans, backend, workspace, *result);
              return result->out;
            },
            [=] {
              return plain.forward()[0].transpose(1, 2);
            }};
  }
  kernels::attention_forward(qkv, spans, backend, workspace, *result);
  const at::Tensor d_qkv = cpu ? at::zeros_like(qkv) : at::Tensor();
  const std::array<at::Tensor, 4> saved = plain.forward();
  return {model::attention_work(/*products=*/5, s.batch, s.time, s.heads, s.head_dim(),
                                bytes_forward + model::traffic(d_out, qkv).bytes),
          [=] {
            const auto d = kernels::attention_backward(d_out, qkv, *result, spans, backend, workspace, d_qkv);
            return d.d_q.transpose(1, 2);
          },
          [=] {
            return plain.d_q(d_out.transpose(1, 2), saved).transpose(1, 2);
          }};
}

}  // namespace

std::vector<KernelCase> attention_cases() {
  return {
      {"rope_forward",
       [](const KernelShape& s, const model::Execution& execution) {
         return rope_forward(s, execution, RopeVariant::kPlain);
       }},
      {"rope_forward_scaled",
       [](const KernelShape& s, const model::Execution& execution) {
         return rope_forward(s, execution, RopeVariant::kScaled);
       }},
      {"rope_forward_normed",
       [](const KernelShape& s, const model::Execution& execution) {
         return rope_forward(s, execution, RopeVariant::kNormed);
       }},
      {"rope_backward",
       [](const KernelShape& s, const model::Execution& execution) {
         return rope_backward(s, execution, RopeVariant::kPlain);
       }},
      {"rope_backward_scaled",
       [](const KernelShape& s, const model::Execution& execution) {
         return rope_backward(s, execution, RopeVariant::kScaled);
       }},
      {"rope_backward_normed",
       [](const KernelShape& s, const model::Execution& execution) {
         return rope_backward(s, execution, RopeVariant::kNormed);
       }},
      {"row_scale_backward", row_scale_backward},
      {"attention_forward",
       [](const KernelShape& s, const model::Execution& execution) {
         return attention(s, execution, /*backward=*/false);
       }},
      {"attention_backward",
       [](const KernelShape& s, const model::Execution& execution) {
         return attention(s, execution, /*backward=*/true);
       }},
  };
}

}  // namespace ssgpt::bench
