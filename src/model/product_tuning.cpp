#include "model/product_tuning.h"

#include "core/error.h"
#include "model/device_timing.h"

#include <algorithm>
#include <optional>
#include <vector>

#include <ATen/ops/randn.h>
#include <ATen/ops/zeros.h>
#include <fmt/format.h>

namespace ssgpt::model {
namespace {

namespace cuda = kernels::cuda;

[[noreturn]] void refuse(const kernels::ProductShape& shape, size_t proposals) {
  throw core::RunError("None of cuBLASLt's {} proposals computes the GEMM {}.", proposals, to_string(shape));
}

std::vector<std::shared_ptr<const cuda::ProductPlan>> plans_of(
    const kernels::ProductShape& shape, const std::vector<kernels::ProductAlgorithm>& algorithms,
    const kernels::ProductTerms& terms) {
  std::vector<std::shared_ptr<const cuda::ProductPlan>> plans;
  for (const kernels::ProductAlgorithm& one : algorithms) plans.push_back(cuda::make_plan(shape, one, terms));
  return plans;
}

}  // namespace

ProductOperands make_product_operands(const kernels::ProductShape& shape, at::Device device) {
  const auto options = [device](bool bf16) {
    return at::TensorOptions(device).dtype(bf16 ? at::kBFloat16 : at::kFloat);
  };
  const auto matrix = [&](int64_t rows, int64_t columns, bool transposed) {
    const at::Tensor dense = at::randn(transposed ? std::vector{columns, rows} : std::vector{rows, columns},
                                       options(shape.bf16_inputs));
    dense.mul_(0.1);
    return transposed ? dense.t() : dense;
  };
  return {.a = matrix(shape.m, shape.k, shape.a_transposed),
          .b = matrix(shape.k, shape.n, shape.b_transposed),
          .out = at::zeros({shape.m, shape.n}, options(shape.bf16_out))};
}

TunedProduct tune_product(const cuda::Product& product, const kernels::ProductTerms& terms, int most,
                          void* workspace, at::Device device) {
  constexpr int kCalls = 3;  // takes the fastest
  const auto algorithms = cuda::propose(product.shape, terms, most);
  const auto plans = plans_of(product.shape, algorithms, terms);
  const auto seconds = [&](size_t index) -> std::optional<double> {
    if (!plans[index]) return std::nullopt;
    const auto call = [&] {
      cuda::multiply(product, *plans[index], workspace, cuda::current_stream());
    };
    try {
      call();  // loads the kernel
      return fastest_call(device, kCalls, call);
    } catch (const core::RunError&) {  // rejected at launch
      return std::nullopt;
    }
  };
  const auto fastest = kernels::fastest_candidate(plans.size(), seconds);
  if (!fastest) refuse(product.shape, plans.size());
  return {.algorithm = algorithms[fastest->index],
          .plan = plans[fastest->index],
          .number = fastest->index + 1,
          .proposals = plans.size(),
          .seconds = fastest->seconds,
          .first_seconds = fastest->first_seconds};
}

TunedProduct take_proposal(const kernels::ProductShape& shape, const kernels::ProductTerms& terms,
                           size_t number) {
  const auto algorithms = cuda::propose(shape, terms, static_cast<int>(number));
  const auto plans = plans_of(shape, algorithms, terms);
  for (const size_t index : {number - 1, size_t{0}}) {
    if (index >= plans.size() || !plans[index]) continue;
    return {.algorithm = algorithms[index],
            .plan = plans[index],
            .number = index + 1,
            .proposals = plans.size(),
            .seconds = 0.0,
            .first_seconds = 0.0};
  }
  refuse(shape, plans.size());
}

std::string to_string(const TunedProduct& product) {
  return fmt::format("number {} of {}: {}", product.number, product.proposals,
                     kernels::cuda::describe(*product.plan));
}

}  // namespace ssgpt::model
