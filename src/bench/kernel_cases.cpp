#include "bench/kernel_cases.h"

#include "bench/attention_cases.h"
#include "bench/tensor_maker.h"
#include "kernels/ops.h"
#include "model/head.h"
#include "model/work.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/Reduction.h>
#include <ATen/ops/_fused_adamw.h>
#include <ATen/ops/_log_softmax.h>
#include <ATen/ops/_log_softmax_backward_data.h>
#include <ATen/ops/addmm.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/cross_entropy_loss.h>
#include <ATen/ops/dot.h>
#include <ATen/ops/embedding.h>
#include <ATen/ops/embedding_dense_backward.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/nll_loss_backward.h>
#include <ATen/ops/nll_loss_forward.h>
#include <ATen/ops/rms_norm.h>
#include <ATen/ops/silu.h>
#include <ATen/ops/silu_backward.h>
#include <ATen/ops/zeros.h>

namespace ssgpt::bench {
namespace {

constexpr double kNormEps = 1e-5;

KernelRun rms_norm_forward(const KernelShape& s, const model::Execution& execution) {
  const TensorMaker make(execution);
  const at::Tensor x = make.random({s.rows(), s.hidden});
  const at::Tensor weight = make.random({s.hidden});
  const at::Tensor out = make.zeros({s.rows(), s.hidden});
  const at::Tensor rstd = make.zeros_fp32({s.rows()});
  return {model::traffic(x, out),
          [=] {
            kernels::rms_norm_forward(x, weight, kNormEps, out, rstd);
            return out;
          },
          [=, hidden = s.hidden] {
            return at::rms_norm(x, {hidden}, weight, kNormEps);
          }};
}

KernelRun add_rms_norm_forward(const KernelShape& s, const model::Execution& execution) {
  const TensorMaker make(execution);
  const at::Tensor residual = make.random({s.rows(), s.hidden});
  const at::Tensor branch = make.random({s.rows(), s.hidden});
  const at::Tensor weight = make.random({s.hidden});
  const at::Tensor sum = make.zeros({s.rows(), s.hidden});
  const at::Tensor out = make.zeros({s.rows(), s.hidden});
  const at::Tensor rstd = make.zeros_fp32({s.rows()});
  return {model::traffic(residual, branch, sum, out),
          [=] {
            kernels::add_rms_norm_forward(residual, branch, weight, kNormEps, sum, out, rstd);
            return out;
          },
          [=, hidden = s.hidden] {
            return at::rms_norm(residual + branch, {hidden}, weight, kNormEps);
          }};
}

KernelRun rms_norm_backward(const KernelShape& s, const model::Execution& execution) {
  const TensorMaker make(execution);
  const at::Tensor x = make.random({s.rows(), s.hidden});
  const at::Tensor d_out = make.random({s.rows(), s.hidden});
  const at::Tensor weight = make.random({s.hidden});
  const at::Tensor d_x = make.zeros({s.rows(), s.hidden});
  const at::Tensor d_weight = make.zeros_fp32({s.hidden});
  const at::Tensor plain_d_x = make.zeros({s.rows(), s.hidden});
  const at::Tensor plain_d_weight = make.zeros_fp32({s.hidden});

  const at::Tensor rstd = x.to(at::kFloat).square().mean(-1).add_(kNormEps).rsqrt_();
  const at::Tensor scratch = make.zeros_fp32({kernels::num_row_chunks(s.rows()), s.hidden});
  return {model::traffic(d_out, x, d_x, d_x),
          [=] {
            kernels::rms_norm_backward(d_out, x, weight, rstd, /*accumulate=*/true, d_x, scratch);
            kernels::add_row_sums({{.of_chunks = scratch, .total = d_weight}});
            return d_x;
          },
          [=] {
            const at::Tensor scale = rstd.unsqueeze(-1);
            const at::Tensor normed = x * scale;
            const at::Tensor g = d_out * weight;
            at::Tensor(plain_d_weight).add_((d_out * normed).sum(0));
            return at::Tensor(plain_d_x).add_((g - normed * (g * normed).mean(-1, /*keepdim=*/true)) * scale);
          }};
}

// d_out^T x, x W^T and d_out W of the feed-forward network's first linear layer. Accumulates in fp32.
KernelRun product(const at::Tensor& a, const at::Tensor& b, bool accumulate) {
  const at::TensorOptions options = accumulate ? a.options().dtype(at::kFloat) : a.options();
  const at::Tensor out = at::zeros({a.size(0), b.size(1)}, options);
  const at::Tensor plain_out = at::zeros({a.size(0), b.size(1)}, options);
  const bool widens = out.scalar_type() != a.scalar_type();
  return {model::product_work(a.size(0), b.size(1), a.size(1), model::traffic(a, b, out).bytes),
          [=] {
            kernels::matrix_product(a, b, accumulate, out);
            return out;
          },
          [=] {
            at::Tensor result = plain_out;
            if (!accumulate) return at::mm_out(result, a, b);
            return widens ? at::addmm_out(result, result, a, b, at::kFloat) : result.addmm_(a, b);
          }};
}
KernelRun product_forward(const KernelShape& s, const model::Execution& execution) {
  const TensorMaker make(execution);
  return product(make.random({s.rows(), s.hidden}), make.random({2 * s.ff, s.hidden}).t(),
                 /*accumulate=*/false);
}
KernelRun product_input_gradient(const KernelShape& s, const model::Execution& execution) {
  const TensorMaker make(execution);
  return product(make.random({s.rows(), 2 * s.ff}), make.random({2 * s.ff, s.hidden}), /*accumulate=*/false);
}
KernelRun product_weight_gradient(const KernelShape& s, const model::Execution& execution) {
  const TensorMaker make(execution);
  return product(make.random({s.rows(), 2 * s.ff}).t(), make.random({s.rows(), s.hidden}),
                 /*accumulate=*/true);
}

KernelRun swiglu_forward(const KernelShape& s, const model::Execution& execution) {
  const TensorMaker make(execution);
  const at::Tensor gate_up = make.random({s.rows(), 2 * s.ff});
  const at::Tensor out = make.zeros({s.rows(), s.ff});
  return {model::traffic(gate_up, out),
          [=] {
            kernels::swiglu_forward(gate_up, out);
            return out;
          },
          [=, ff = s.ff] {
            return at::silu(gate_up.narrow(1, 0, ff)) * gate_up.narrow(1, ff, ff);
          }};
}

KernelRun swiglu_backward(const KernelShape& s, const model::Execution& execution) {
  const TensorMaker make(execution);
  const at::Tensor gate_up = make.random({s.rows(), 2 * s.ff});
  const at::Tensor d_out = make.random({s.rows(), s.ff});
  const at::Tensor d_gate_up = make.zeros({s.rows(), 2 * s.ff});
  return {model::traffic(d_out, gate_up, d_gate_up),
          [=] {
            kernels::swiglu_backward(d_out, gate_up, d_gate_up);
            return d_gate_up;
          },
          [=, ff = s.ff] {
            const at::Tensor gate = gate_up.narrow(1, 0, ff);
            const at::Tensor up = gate_up.narrow(1, ff, ff);
            return at::cat({at::silu_backward(d_out * up, gate), d_out * at::silu(gate)}, 1);
          }};
}

// Logits of one chunk of the head. In bf16 ATen's softmax works on fp32 copies, as under autocast.
KernelRun cross_entropy(const KernelShape& s, const model::Execution& execution, bool backward) {
  const TensorMaker make(execution);
  const int64_t rows = model::logits_chunk_rows(execution.device, execution.dtype, s.rows(), s.vocab);
  const at::Tensor logits = make.random({rows, model::padded_vocab_size(execution.device, s.vocab)});
  const at::Tensor targets = make.ids(rows, s.vocab);
  const at::Tensor losses = make.zeros_fp32({rows});
  const int64_t vocab = s.vocab;

  if (!backward) {
    return {model::traffic(logits),
            [=] {
              kernels::cross_entropy_forward(logits, targets, vocab, losses);
              return losses;
            },
            [=] {
              const at::Tensor predicted = logits.narrow(1, 0, vocab).to(at::kFloat);
              return at::cross_entropy_loss(predicted, targets, {}, at::Reduction::None);
            }};
  }
  const at::Tensor one = make.constant(1.0, {});
  return {model::traffic(logits, logits),
          // Overwrites its own gradient in repeated calls: the time does not depend on the values.
          [=] {
            kernels::cross_entropy_forward_backward(logits, targets, vocab, losses);
            return logits.narrow(1, 0, vocab);
          },
          [=] {
            const at::Tensor predicted = logits.narrow(1, 0, vocab).to(at::kFloat);
            const at::Tensor log_probability = at::_log_softmax(predicted, 1, /*half_to_float=*/false);
            const auto [loss, weight] =
                at::nll_loss_forward(log_probability, targets, {}, at::Reduction::Sum, /*ignore_index=*/-100);
            const at::Tensor d = at::nll_loss_backward(one, log_probability, targets, {}, at::Reduction::Sum,
                                                       /*ignore_index=*/-100, weight);
            return at::_log_softmax_backward_data(d, log_probability, 1, at::kFloat).to(logits.scalar_type());
          }};
}

KernelRun embedding_forward(const KernelShape& s, const model::Execution& execution) {
  const TensorMaker make(execution);
  const at::Tensor tokens = make.ids(s.rows(), s.vocab);
  const at::Tensor table = make.random({s.vocab, s.hidden});
  const at::Tensor out = make.zeros({s.rows(), s.hidden});
  return {model::traffic(out, out),
          [=] {
            kernels::embedding_forward(tokens, table, out);
            return out;
          },
          [=] {
            return at::embedding(table, tokens);
          }};
}

KernelRun embedding_backward(const KernelShape& s, const model::Execution& execution) {
  const TensorMaker make(execution);
  const at::Tensor tokens = make.ids(s.rows(), s.vocab);
  const at::Tensor d_out = make.random({s.rows(), s.hidden});
  const at::Tensor d_table = make.zeros_fp32({s.vocab, s.hidden});
  const at::Tensor plain_d_table = make.zeros_fp32({s.vocab, s.hidden});

  return {model::traffic(d_out, d_out, d_out),
          [=] {
            kernels::embedding_backward(tokens, d_out, d_table);
            return d_table;
          },
          [=, vocab = s.vocab] {
            return at::Tensor(plain_d_table)
                .add_(at::embedding_dense_backward(d_out, tokens, vocab, /*padding_idx=*/-1,
                                                   /*scale_grad_by_freq=*/false));
          }};
}

KernelRun squared_norm(const KernelShape& s, const model::Execution& execution) {
  const TensorMaker make(execution);
  const at::Tensor flat = make.random_fp32({s.flat});
  return {model::traffic(flat), [=] { return kernels::squared_norm(flat); },
          [=] {
            return at::dot(flat, flat);
          }};
}

KernelRun adamw_update(const KernelShape& s, const model::Execution& execution) {
  const TensorMaker make(execution);
  const at::Tensor master = make.random_fp32({s.flat});
  const at::Tensor grad = make.random_fp32({s.flat});
  const at::Tensor first = make.zeros_fp32({s.flat});
  const at::Tensor second = make.zeros_fp32({s.flat});
  const at::Tensor factor = make.constant(1.0, {1});
  const at::Tensor steps = make.constant(10.0, {});
  const at::Tensor plain_master = master.clone();
  const at::Tensor plain_first = first.clone();
  const at::Tensor plain_second = second.clone();

  const bool has_bf16_copy = execution.dtype == at::kBFloat16;
  const at::Tensor bf16_copy = has_bf16_copy ? make.zeros({s.flat}) : at::Tensor();
  const std::vector<kernels::AdamWSlice> slices = {
      {.begin = 0, .moment = 0, .size = s.flat, .lr = 1e-4, .weight_decay = 0.1}};
  const at::Tensor plain_bf16_copy = has_bf16_copy ? make.zeros({s.flat}) : at::Tensor();

  return {model::traffic(master, grad, first, second, master, first, second, bf16_copy),
          [=] {
            kernels::adamw_update(master, grad, first, second, bf16_copy, slices, {}, /*step=*/10, factor);
            return master;
          },
          [=] {
            at::_fused_adamw_({plain_master}, {grad}, {plain_first}, {plain_second}, {}, {steps}, /*lr=*/1e-4,
                              /*beta1=*/0.9,
                              /*beta2=*/0.95, /*weight_decay=*/0.1, /*eps=*/1e-8, /*amsgrad=*/false,
                              /*maximize=*/false);
            if (plain_bf16_copy.defined()) plain_bf16_copy.copy_(plain_master);
            return plain_master;
          }};
}

}  // namespace

const std::vector<KernelShape>& kernel_shapes(at::Device device) {
  static const KernelShape kPaper = {.name = "paper",
                                     .layers = 12,
                                     .batch = 2,
                                     .time = 1024,
                                     .hidden = 768,
                                     .heads = 12,
                                     .ff = 2048,
                                     .vocab = 50257,
                                     .flat = 1 << 25};
  // The paper's parameters would take 650 MB per flat tensor; 32M elements exceed every CPU cache just as
  // well. A GPU has room for them, and uses the micro-batch that it is trained with.
  static const std::vector<KernelShape> of_cpu = {{.name = "quickstart",
                                                   .layers = 6,
                                                   .batch = 8,
                                                   .time = 512,
                                                   .hidden = 256,
                                                   .heads = 4,
                                                   .ff = 688,
                                                   .vocab = 4096,
                                                   .flat = 6'800'000},
                                                  kPaper};
  static const std::vector<KernelShape> of_gpu = [] {
    KernelShape paper = kPaper;
    paper.batch = 32;
    paper.flat = 162'000'000;
    return std::vector<KernelShape>{paper};
  }();
  return device.is_cpu() ? of_cpu : of_gpu;
}

const std::vector<KernelCase>& kernel_cases() {
  static const std::vector<KernelCase> cases = [] {
    std::vector<KernelCase> all = {
        {"rms_norm_forward", rms_norm_forward},
        {"add_rms_norm_forward", add_rms_norm_forward},
        {"rms_norm_backward", rms_norm_backward},
        {"matrix_product_forward", product_forward, /*only_fp32_on_cpu=*/true},
        {"matrix_product_input_gradient", product_input_gradient, /*only_fp32_on_cpu=*/true},
        {"matrix_product_weight_gradient", product_weight_gradient, /*only_fp32_on_cpu=*/true},
        {"swiglu_forward", swiglu_forward},
        {"swiglu_backward", swiglu_backward},
        {"cross_entropy_forward",
         [](const KernelShape& s, const model::Execution& execution) {
           return cross_entropy(s, execution, /*backward=*/false);
         }},
        {"cross_entropy_forward_backward",
         [](const KernelShape& s, const model::Execution& execution) {
           return cross_entropy(s, execution, /*backward=*/true);
         }},
        {"embedding_forward", embedding_forward},
        {"embedding_backward", embedding_backward},
        {"squared_norm", squared_norm},
        {"adamw_update", adamw_update},
    };
    const std::vector<KernelCase> attention = attention_cases();
    all.insert(all.end(), attention.begin(), attention.end());
    return all;
  }();
  return cases;
}

bool can_run(const KernelCase& one, const model::Execution& execution) {
  return !(one.only_fp32_on_cpu && execution.device.is_cpu() && execution.dtype != at::kFloat);
}

}  // namespace ssgpt::bench
