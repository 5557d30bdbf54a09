#include "bench/attention_cases.h"

#include "kernels/ops.h"
#include "model/positions.h"
#include "model/rope.h"
#include "model/work.h"

#include <tuple>

#include <ATen/TensorOperators.h>
#include <ATen/ops/_scaled_dot_product_flash_attention_for_cpu.h>
#include <ATen/ops/_scaled_dot_product_flash_attention_for_cpu_backward.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/ones.h>

namespace ssgpt::bench {
namespace {

struct Rotation {
  explicit Rotation(const KernelShape& s)
      : tables(model::make_rope_tables(s.time, s.head_dim(), 10000.0, at::kCPU)),
        num_keys(model::count_keys(s.batch, s.time, at::kCPU)),
        cos(at::cat({tables.cos, tables.cos}, -1).unsqueeze(1)),
        sin(at::cat({tables.sin, tables.sin}, -1).unsqueeze(1)),
        row_scale{.position = model::make_log_table(s.time, at::kCPU),
                  .scale = at::ones({s.heads}, at::kFloat),
                  .bias = {}} {}
  // The angle's sign is that of `sign`: -1 turns back.
  at::Tensor rotate(const at::Tensor& x, double sign) const {
    const int64_t half = x.size(-1) / 2;
    const at::Tensor turned = at::cat({x.narrow(-1, half, half).neg(), x.narrow(-1, 0, half)}, -1);
    return x * cos + turned * sin * sign;
  }
  at::Tensor factor() const {  // (1, T, N, 1)
    return (row_scale.position.unsqueeze(-1) * row_scale.scale).unsqueeze(-1).unsqueeze(0);
  }

  model::RopeTables tables;
  at::Tensor num_keys;
  at::Tensor cos, sin;  // (T, 1, H)
  kernels::RowScale row_scale;
};

KernelRun rope_forward(const KernelShape& s, bool scaled) {
  const at::Tensor qkv = random({s.batch, s.time, 3, s.heads, s.head_dim()});
  const Rotation rotation(s);
  const kernels::RowScale row_scale = scaled ? rotation.row_scale : kernels::RowScale();
  const at::Tensor q = qkv.select(2, 0);
  const at::Tensor k = qkv.select(2, 1);
  return {model::traffic(q, q, k, k),
          [=] {
            kernels::rope_forward(qkv, rotation.tables.cos, rotation.tables.sin, rotation.num_keys,
                                  row_scale);
            return q;
          },
          [=] {
            rotation.rotate(k, 1.0);
            const at::Tensor rotated = rotation.rotate(q, 1.0);
            return scaled ? rotated * rotation.factor() : rotated;
          }};
}

KernelRun rope_backward(const KernelShape& s, bool scaled) {
  const at::Tensor qkv = random({s.batch, s.time, 3, s.heads, s.head_dim()});
  const at::Tensor d_qkv = random({s.batch, s.time, 3, s.heads, s.head_dim()});
  const Rotation rotation(s);
  const kernels::RowScale row_scale = scaled ? rotation.row_scale : kernels::RowScale();
  const at::Tensor d_row_scale = scaled ? zeros({s.batch, s.time, s.heads}) : at::Tensor();
  const auto part = [d_qkv](int64_t index) {
    return d_qkv.select(2, index).transpose(1, 2);
  };
  const at::Tensor q = qkv.select(2, 0);
  return {model::traffic(d_qkv, qkv) += (scaled ? model::traffic(q) : core::Work()),
          [=] {
            kernels::rope_backward(part(0), part(1), part(2), rotation.tables.cos, rotation.tables.sin,
                                   rotation.num_keys, row_scale, qkv, d_row_scale);
            return qkv;
          },
          [=] {
            at::Tensor d_q = d_qkv.select(2, 0);
            if (scaled) {
              (d_q * q).sum(-1).div_(rotation.factor().squeeze(-1).clamp_min(1e-20));
              d_q = d_q * rotation.factor();
            }
            const at::Tensor turned_q = rotation.rotate(d_q, -1.0);
            return at::cat({turned_q, rotation.rotate(d_qkv.select(2, 1), -1.0), d_qkv.select(2, 2)}, 2);
          }};
}

KernelRun row_scale_backward(const KernelShape& s) {
  const at::Tensor d_row_scale = random({s.batch, s.time, s.heads});
  const Rotation rotation(s);
  const at::Tensor d_scale = zeros({s.heads});
  const at::Tensor plain_d_scale = zeros({s.heads});

  return {model::traffic(d_row_scale, rotation.num_keys),
          [=] {
            kernels::row_scale_backward(d_row_scale, rotation.num_keys, rotation.row_scale, d_scale, {}, {});
            return d_scale;
          },
          [=] {
            return at::Tensor(plain_d_scale)
                .add_((d_row_scale * rotation.row_scale.position.unsqueeze(-1)).flatten(0, 1).sum(0));
          }};
}

KernelRun attention(const KernelShape& s, bool backward) {
  const at::Tensor qkv = random({s.batch, s.time, 3, s.heads, s.head_dim()});
  const at::Tensor num_keys = model::count_keys(s.batch, s.time, at::kCPU);
  const at::Tensor workspace = zeros({kernels::attention_workspace(s.time, s.head_dim())});
  const at::Tensor out = zeros({s.batch, s.time, s.heads, s.head_dim()});
  const at::Tensor d_out = random({s.batch, s.time, s.heads, s.head_dim()});
  const at::Tensor logsumexp = zeros({s.batch, s.heads, s.time});
  const auto part = [qkv](int64_t index) {
    return qkv.select(2, index).transpose(1, 2);
  };
  if (!backward) {
    return {model::attention_work(/*products=*/2, s.batch, s.time, s.heads, s.head_dim(),
                                  model::traffic(qkv, out).bytes),
            [=] {
              kernels::attention_forward(qkv, num_keys, workspace, out, logsumexp);
              return out;
            },
            [=] {
              return std::get<0>(at::_scaled_dot_product_flash_attention_for_cpu(part(0), part(1), part(2),
                                                                                 /*dropout_p=*/0.0,
                                                                                 /*is_causal=*/true))
                  .transpose(1, 2);
            }};
  }
  kernels::attention_forward(qkv, num_keys, workspace, out, logsumexp);
  const at::Tensor d_qkv = zeros({s.batch, s.time, 3, s.heads, s.head_dim()});
  const auto [plain_out, plain_logsumexp] = at::_scaled_dot_product_flash_attention_for_cpu(
      part(0), part(1), part(2), /*dropout_p=*/0.0, /*is_causal=*/true);
  const at::Tensor saved_out = plain_out;
  const at::Tensor saved_logsumexp = plain_logsumexp;
  return {
      model::attention_work(/*products=*/5, s.batch, s.time, s.heads, s.head_dim(),
                            model::traffic(qkv, out, d_out, d_qkv).bytes),
      [=] {
        kernels::attention_backward(d_out, qkv, out, logsumexp, num_keys, workspace, d_qkv);
        return d_qkv.select(2, 0);
      },
      [=] {
        return std::get<0>(at::_scaled_dot_product_flash_attention_for_cpu_backward(
                               d_out.transpose(1, 2), part(0), part(1), part(2), saved_out, saved_logsumexp,
                               /*dropout_p=*/0.0, /*is_causal=*/true))
            .transpose(1, 2);
      }};
}

}  // namespace

std::vector<KernelCase> attention_cases() {
  return {
      {"rope_forward",
       [](const KernelShape& s) {
         return rope_forward(s, /*scaled=*/false);
       }},
      {"rope_forward_scaled",
       [](const KernelShape& s) {
         return rope_forward(s, /*scaled=*/true);
       }},
      {"rope_backward",
       [](const KernelShape& s) {
         return rope_backward(s, /*scaled=*/false);
       }},
      {"rope_backward_scaled",
       [](const KernelShape& s) {
         return rope_backward(s, /*scaled=*/true);
       }},
      {"row_scale_backward", row_scale_backward},
      {"attention_forward",
       [](const KernelShape& s) {
         return attention(s, /*backward=*/false);
       }},
      {"attention_backward",
       [](const KernelShape& s) {
         return attention(s, /*backward=*/true);
       }},
  };
}

}  // namespace ssgpt::bench
