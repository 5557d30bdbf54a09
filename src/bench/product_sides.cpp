#include "bench/product_sides.h"

#include "bench/tensor_maker.h"
#include "core/error.h"
#include "kernels/cuda/product.h"
#include "kernels/ops.h"
#include "model/device_timing.h"

#include <limits>
#include <memory>
#include <optional>
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
  at::Tensor a, b, out;  // a (m, k), b (k, n), out (m, n)
  bool accumulates;
};

Operands make_operands(const ProductCase& product, const model::Execution& execution) {
  const TensorMaker make(execution);
  const auto matrix = [&](int64_t rows, int64_t columns, bool transposed) {
    return transposed ? make.random({columns, rows}).t() : make.random({rows, columns});
  };
  return {.a = matrix(product.m, product.k, product.a_transposed),
          .b = matrix(product.k, product.n, product.b_transposed),
          .out = product.accumulates ? make.zeros_fp32({product.m, product.n})
                                     : make.zeros({product.m, product.n}),
          .accumulates = product.accumulates};
}

at::Tensor by_aten(const Operands& of) {
  at::Tensor out = of.out;
  if (!of.accumulates) return at::mm_out(out, of.a, of.b);
  const bool widens = out.scalar_type() != of.a.scalar_type();
  return widens ? at::addmm_out(out, out, of.a, of.b, at::kFloat) : out.addmm_(of.a, of.b);
}

cuda::Product gpu_product(const Operands& of) {
  return {.a = {.data = of.a.data_ptr(), .transposed = !of.a.is_contiguous()},
          .b = {.data = of.b.data_ptr(), .transposed = !of.b.is_contiguous()},
          .out = of.out.data_ptr(),
          .m = of.a.size(0),
          .n = of.b.size(1),
          .k = of.a.size(1),
          .bf16_inputs = of.a.scalar_type() == at::kBFloat16,
          .bf16_out = of.out.scalar_type() == at::kBFloat16,
          .accumulate = of.accumulates};
}

// A plan of cuBLASLt's under some terms: of its first proposals the one that is fastest here.
class PlannedProduct {
 public:
  PlannedProduct(Operands operands, cuda::ProductTerms terms, int proposals)
      : operands_(std::move(operands)), terms_(terms), proposals_(proposals) {}

  void prepare() {
    workspace_ =
        at::empty({static_cast<int64_t>(terms_.workspace_bytes)}, operands_.a.options().dtype(at::kByte));
    const auto plans = cuda::propose(gpu_product(operands_), terms_, proposals_);
    double least = std::numeric_limits<double>::infinity();
    for (size_t index = 0; index < plans.size(); ++index) {
      const double seconds = plans.size() > 1 ? seconds_of(*plans[index]).value_or(least) : 0.0;
      if (seconds >= least) continue;
      least = seconds;
      plan_ = plans[index];
      detail_ = fmt::format("number {} of {}: {}", index + 1, plans.size(), cuda::describe(*plan_));
    }
    if (!plan_) throw core::RunError("none of {} proposals computes the product", plans.size());
  }

  at::Tensor call() const {
    multiply(*plan_);
    return operands_.out;
  }
  const std::string& detail() const { return detail_; }

 private:
  void multiply(const cuda::ProductPlan& plan) const {
    cuda::multiply(gpu_product(operands_), plan, workspace_.data_ptr(), cuda::current_stream());
  }
  // None where the library refuses it after all.
  std::optional<double> seconds_of(const cuda::ProductPlan& plan) const {
    constexpr int kCalls = 4;  // the fastest counts
    try {
      multiply(plan);
      return model::fastest_call(operands_.a.device(), kCalls, [&] { multiply(plan); });
    } catch (const core::RunError&) {
      return std::nullopt;
    }
  }

  const Operands operands_;
  const cuda::ProductTerms terms_;
  const int proposals_;
  at::Tensor workspace_;
  std::shared_ptr<const cuda::ProductPlan> plan_;
  std::string detail_;
};

struct PlannedSide {
  const char* name;
  cuda::ProductTerms terms;
  int proposals;
};
constexpr size_t kMiB = size_t{1} << 20;
// Ours is cuBLASLt's first proposal under its own terms.
const std::vector<PlannedSide>& planned_sides() {
  static const std::vector<PlannedSide> sides = {
      {"best of 16", {}, 16},
      {"any reduction", {.workspace_bytes = cuda::kProductWorkspaceBytes, .any_reduction = true}, 1},
      {"64 MiB", {.workspace_bytes = 64 * kMiB, .any_reduction = false}, 1},
      {"128 MiB", {.workspace_bytes = 128 * kMiB, .any_reduction = false}, 1}};
  return sides;
}

ProductRun planned_run(const PlannedSide& side, const Operands& operands) {
  const auto product = std::make_shared<PlannedProduct>(operands, side.terms, side.proposals);
  return {.name = side.name,
          .call = [product] { return product->call(); },
          .prepare = [product] { product->prepare(); },
          .detail =
              [product] {
                return product->detail();
              }};
}

}  // namespace

std::vector<std::string> product_side_names(at::Device device) {
  if (device.is_cpu()) return {"ours", at::hasMKL() ? "MKL" : "ATen"};
  std::vector<std::string> names = {"ours"};
  for (const PlannedSide& side : planned_sides()) names.emplace_back(side.name);
  names.emplace_back("ATen");
  return names;
}

std::vector<ProductRun> product_runs(const ProductCase& product, const model::Execution& execution) {
  const Operands operands = make_operands(product, execution);
  const std::vector<std::string> names = product_side_names(execution.device);
  std::vector<ProductRun> runs = {{.name = names.front(),
                                   .call =
                                       [operands] {
                                         kernels::matrix_product(operands.a, operands.b, operands.accumulates,
                                                                 operands.out);
                                         return operands.out;
                                       },
                                   .prepare = {},
                                   .detail = {}}};
  if (!execution.device.is_cpu()) {
    for (const PlannedSide& side : planned_sides()) runs.push_back(planned_run(side, operands));
  }
  Operands of_aten = operands;
  of_aten.out = operands.out.clone();
  runs.push_back(
      {.name = names.back(), .call = [of_aten] { return by_aten(of_aten); }, .prepare = {}, .detail = {}});
  return runs;
}

}  // namespace ssgpt::bench
