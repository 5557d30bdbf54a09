#include "bench/product_sides.h"

#include "bench/onednn.h"
#include "kernels/ops.h"
#include "kernels/product_of.h"
#include "model/product_tuning.h"

#include <array>
#include <memory>
#include <utility>

#include <ATen/Context.h>
#include <ATen/ops/addmm.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/mm.h>
#include <fmt/format.h>

namespace ssgpt::bench {
namespace {

namespace cuda = kernels::cuda;

struct Operands {
  model::ProductOperands tensors;
  bool accumulates;
};

kernels::ProductShape shape_of(const ProductCase& product, const model::Execution& execution) {
  const bool bf16 = execution.dtype == at::kBFloat16;
  return {.m = product.m,
          .n = product.n,
          .k = product.k,
          .a_transposed = product.a_transposed,
          .b_transposed = product.b_transposed,
          .bf16_inputs = bf16,
          .bf16_out = bf16 && !product.accumulates,
          .a_alignment = kernels::kChoiceAlignment,
          .b_alignment = kernels::kChoiceAlignment,
          .out_alignment = kernels::kChoiceAlignment};
}

at::Tensor by_aten(const Operands& of) {
  const auto& [a, b, tensor] = of.tensors;
  at::Tensor out = tensor;
  if (!of.accumulates) return at::mm_out(out, a, b);
  const bool widens = out.scalar_type() != a.scalar_type();
  return widens ? at::addmm_out(out, out, a, b, at::kFloat) : out.addmm_(a, b);
}

at::Tensor by_onednn(const Operands& of) {
  onednn_product(of.tensors.a, of.tensors.b, of.accumulates, of.tensors.out);
  return of.tensors.out;
}

// Uses cuBLASLt's fastest proposal under given terms, selected as in a training run.
class TunedSide {
 public:
  TunedSide(Operands operands, const kernels::ProductShape& shape, const kernels::ProductTerms& terms)
      : operands_(std::move(operands)), shape_(shape), terms_(terms) {}

  void prepare() {
    const at::Tensor& a = operands_.tensors.a;
    workspace_ = at::empty({terms_.workspace_bytes}, a.options().dtype(at::kByte));
    tuned_ =
        model::tune_product(product(), terms_, model::kTunedProposals, workspace_.data_ptr(), a.device());
  }
  at::Tensor call() const {
    cuda::multiply(product(), *tuned_.plan, workspace_.data_ptr(), cuda::current_stream());
    return operands_.tensors.out;
  }
  std::string detail() const { return to_string(tuned_); }

 private:
  cuda::Product product() const {
    const auto& [a, b, out] = operands_.tensors;
    cuda::Product product = kernels::product_of(a, b, operands_.accumulates, out);
    product.shape = shape_;
    return product;
  }

  const Operands operands_;
  const kernels::ProductShape shape_;
  const kernels::ProductTerms terms_;
  at::Tensor workspace_;
  model::TunedProduct tuned_;
};

struct TunedTerms {
  const char* name;
  uint32_t fp32_reductions;
  int64_t workspace_mib;
};
// The first terms are those of a training run.
constexpr std::array<TunedTerms, 4> kTunedTerms = {{{"best of 16", kernels::kReduceAnyhow, 32},
                                                    {"mask 2", kernels::kReduceInFp32, 32},
                                                    {"64 MiB", kernels::kReduceAnyhow, 64},
                                                    {"128 MiB", kernels::kReduceAnyhow, 128}}};

ProductRun tuned_run(const TunedTerms& of, const Operands& operands, const kernels::ProductShape& shape) {
  const auto side = std::make_shared<TunedSide>(
      operands, shape, choice_terms(shape, of.workspace_mib << 20, of.fp32_reductions));
  return {.name = of.name,
          .call = [side] { return side->call(); },
          .prepare = [side] { side->prepare(); },
          .detail =
              [side] {
                return side->detail();
              }};
}

}  // namespace

std::vector<std::string> product_side_names(at::Device device) {
  if (device.is_cpu()) {
    std::vector<std::string> names = {"ours", aten_library(device)};
    if (has_onednn()) names.emplace_back("oneDNN");
    return names;
  }
  std::vector<std::string> names = {"ours"};
  for (const TunedTerms& terms : kTunedTerms) names.emplace_back(terms.name);
  names.emplace_back("ATen");
  return names;
}

std::string aten_library(at::Device device) {
  return device.is_cpu() && at::hasMKL() ? "MKL" : "ATen";
}

std::vector<ProductRun> product_runs(const ProductCase& product, const model::Execution& execution) {
  const kernels::ProductShape shape = shape_of(product, execution);
  const Operands operands = {.tensors = model::make_product_operands(shape, execution.device),
                             .accumulates = product.accumulates};
  std::vector<ProductRun> runs = {{.name = "ours",
                                   .call =
                                       [operands] {
                                         const auto& [a, b, out] = operands.tensors;
                                         kernels::matrix_product(a, b, operands.accumulates, out);
                                         return out;
                                       },
                                   .prepare = {},
                                   .detail = {}}};
  const auto add = [&](std::string name, at::Tensor (*compute)(const Operands&)) {
    Operands of = operands;
    of.tensors.out = operands.tensors.out.clone();
    runs.push_back({.name = std::move(name),
                    .call = [compute, of] { return compute(of); },
                    .prepare = {},
                    .detail = {}});
  };
  if (!execution.device.is_cpu()) {
    for (const TunedTerms& terms : kTunedTerms) runs.push_back(tuned_run(terms, operands, shape));
  }
  add(aten_library(execution.device), by_aten);
  if (execution.device.is_cpu() && has_onednn()) add("oneDNN", by_onednn);
  return runs;
}

}  // namespace ssgpt::bench
