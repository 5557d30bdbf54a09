#include "kernels/cuda/product.h"

#include "core/error.h"

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstring>
#include <cublasLt.h>
#include <cuda_runtime_api.h>
#include <map>
#include <memory>
#include <mutex>
#include <utility>

#include <c10/cuda/CUDAFunctions.h>
#include <fmt/format.h>

namespace ssgpt::kernels::cuda {
namespace {

static_assert(CUBLASLT_REDUCTION_SCHEME_NONE == 0);
static_assert(kReduceInFp32 == CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE);
static_assert(kReduceAnyhow == CUBLASLT_REDUCTION_SCHEME_MASK);
static_assert(kProductWorkspaceBytes == ProductTerms().workspace_bytes);
static_assert(sizeof(ProductAlgorithm) == sizeof(cublasLtMatmulAlgo_t));

void check(cublasStatus_t status, const char* what, const ProductShape& shape) {
  if (status == CUBLAS_STATUS_SUCCESS) return;
  throw core::RunError("cuBLASLt cannot compute the GEMM {} ({}): {}.", to_string(shape), what,
                       cublasLtGetStatusString(status));
}

}  // namespace

// cuBLASLt is column-major, so a row-major (r, c) matrix is its (c, r): it computes out^T = b^T a^T.
struct ProductPlan {
  struct Destroy {
    void operator()(cublasLtMatmulDesc_t operation) const { cublasLtMatmulDescDestroy(operation); }
    void operator()(cublasLtMatrixLayout_t layout) const { cublasLtMatrixLayoutDestroy(layout); }
    void operator()(cublasLtMatmulPreference_t preference) const {
      cublasLtMatmulPreferenceDestroy(preference);
    }
  };
  template <typename Handle>
  using Owned = std::unique_ptr<std::remove_pointer_t<Handle>, Destroy>;

  Owned<cublasLtMatmulDesc_t> operation;
  Owned<cublasLtMatrixLayout_t> left, right, out;  // b, a, out
  cublasLtMatmulAlgo_t algorithm;
  size_t needed_bytes = 0;     // workspace that the algorithm uses
  size_t workspace_bytes = 0;  // workspace that it may use
};

namespace {

template <typename Handle>
using Owned = ProductPlan::Owned<Handle>;

Owned<cublasLtMatrixLayout_t> make_layout(cudaDataType type, int64_t rows, int64_t columns,
                                          const ProductShape& shape) {
  cublasLtMatrixLayout_t layout = nullptr;
  check(cublasLtMatrixLayoutCreate(&layout, type, static_cast<uint64_t>(columns), static_cast<uint64_t>(rows),
                                   columns),
        "layout", shape);
  return Owned<cublasLtMatrixLayout_t>(layout);
}

Owned<cublasLtMatmulPreference_t> make_preference(const ProductShape& shape, const ProductTerms& terms) {
  cublasLtMatmulPreference_t handle = nullptr;
  check(cublasLtMatmulPreferenceCreate(&handle), "preference", shape);
  Owned<cublasLtMatmulPreference_t> preference(handle);
  const auto set = [&](cublasLtMatmulPreferenceAttributes_t attribute, auto value) {
    check(cublasLtMatmulPreferenceSetAttribute(handle, attribute, &value, sizeof value), "preference", shape);
  };
  set(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, static_cast<uint64_t>(terms.workspace_bytes));
  set(CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, reductions_to_ask_for(shape, terms));
  set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, static_cast<uint32_t>(shape.b_alignment));
  set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, static_cast<uint32_t>(shape.a_alignment));
  set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, static_cast<uint32_t>(shape.out_alignment));
  set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, static_cast<uint32_t>(shape.out_alignment));
  return preference;
}

// Everything except the algorithm.
ProductPlan describe_operation(const ProductShape& shape) {
  const cudaDataType input = shape.bf16_inputs ? CUDA_R_16BF : CUDA_R_32F;
  const cudaDataType output = shape.bf16_out ? CUDA_R_16BF : CUDA_R_32F;
  ProductPlan plan;
  cublasLtMatmulDesc_t operation = nullptr;
  check(cublasLtMatmulDescCreate(&operation, CUBLAS_COMPUTE_32F, CUDA_R_32F), "operation", shape);
  plan.operation.reset(operation);
  const cublasOperation_t left = shape.b_transposed ? CUBLAS_OP_T : CUBLAS_OP_N;
  const cublasOperation_t right = shape.a_transposed ? CUBLAS_OP_T : CUBLAS_OP_N;
  check(cublasLtMatmulDescSetAttribute(operation, CUBLASLT_MATMUL_DESC_TRANSA, &left, sizeof left),
        "operation", shape);
  check(cublasLtMatmulDescSetAttribute(operation, CUBLASLT_MATMUL_DESC_TRANSB, &right, sizeof right),
        "operation", shape);
  plan.left = shape.b_transposed ? make_layout(input, shape.n, shape.k, shape)
                                 : make_layout(input, shape.k, shape.n, shape);
  plan.right = shape.a_transposed ? make_layout(input, shape.k, shape.m, shape)
                                  : make_layout(input, shape.m, shape.k, shape);
  plan.out = make_layout(output, shape.m, shape.n, shape);
  return plan;
}

// One handle per thread and device, kept, like the plans, until the process ends. Not ATen's handle: that one
// comes with its own workspace and is set up again at every call.
cublasLtHandle_t handle_of(int device, const ProductShape& shape) {
  thread_local auto& handles = *new std::map<int, cublasLtHandle_t>;
  const auto found = handles.find(device);
  if (found != handles.end()) return found->second;
  cublasLtHandle_t handle = nullptr;
  check(cublasLtCreate(&handle), "handle", shape);
  return handles.emplace(device, handle).first->second;
}

cublasLtHandle_t current_handle(const ProductShape& shape) {
  return handle_of(c10::cuda::current_device(), shape);
}

uint32_t attribute(const cublasLtMatmulAlgo_t& algorithm, cublasLtMatmulAlgoConfigAttributes_t which,
                   uint32_t otherwise) {
  uint32_t value = 0;
  size_t written = 0;
  const cublasStatus_t status =
      cublasLtMatmulAlgoConfigGetAttribute(&algorithm, which, &value, sizeof value, &written);
  return status == CUBLAS_STATUS_SUCCESS ? value : otherwise;
}

// Whether the algorithm uses no split-K or a reduction scheme that the terms allow. One that does not report
// a scheme has none.
bool is_reduction_allowed(const cublasLtMatmulAlgo_t& algorithm, const ProductTerms& terms) {
  const uint32_t way =
      attribute(algorithm, CUBLASLT_ALGO_CONFIG_REDUCTION_SCHEME, CUBLASLT_REDUCTION_SCHEME_NONE);
  return (way & ~terms.reductions) == 0;
}

// An algorithm that does not report its number of splits has none.
bool is_split_allowed(const ProductShape& shape, const cublasLtMatmulAlgo_t& algorithm) {
  return kernels::is_split_allowed(shape, attribute(algorithm, CUBLASLT_ALGO_CONFIG_SPLITK_NUM, 1));
}

std::optional<ProductPlan> plan_by(const ProductShape& shape, const ProductAlgorithm& algorithm,
                                   const ProductTerms& terms) {
  ProductPlan plan = describe_operation(shape);
  std::memcpy(&plan.algorithm, algorithm.data(), sizeof plan.algorithm);
  cublasLtMatmulHeuristicResult_t result{};
  const cublasStatus_t status =
      cublasLtMatmulAlgoCheck(current_handle(shape), plan.operation.get(), plan.left.get(), plan.right.get(),
                              plan.out.get(), plan.out.get(), &plan.algorithm, &result);
  const bool fits = status == CUBLAS_STATUS_SUCCESS &&
                    result.workspaceSize <= static_cast<size_t>(terms.workspace_bytes) &&
                    is_reduction_allowed(plan.algorithm, terms) && is_split_allowed(shape, plan.algorithm);
  if (!fits) return std::nullopt;
  plan.needed_bytes = result.workspaceSize;
  plan.workspace_bytes = static_cast<size_t>(terms.workspace_bytes);
  return plan;
}

// Returns at least one.
std::vector<cublasLtMatmulHeuristicResult_t> ask(const ProductShape& shape, const ProductPlan& plan,
                                                 const ProductTerms& terms, int most) {
  const Owned<cublasLtMatmulPreference_t> preference = make_preference(shape, terms);
  std::vector<cublasLtMatmulHeuristicResult_t> results(static_cast<size_t>(most));
  int found = 0;
  check(cublasLtMatmulAlgoGetHeuristic(current_handle(shape), plan.operation.get(), plan.left.get(),
                                       plan.right.get(), plan.out.get(), plan.out.get(), preference.get(),
                                       most, results.data(), &found),
        "choice of an algorithm", shape);
  check(found > 0 ? results.front().state : CUBLAS_STATUS_NOT_SUPPORTED, "choice of an algorithm", shape);
  results.resize(static_cast<size_t>(found));
  return results;
}

// Likewise, only proposals that can be used. Where no split is allowed, cuBLASLt is asked for more than
// `most` of them, since some may split all the same.
std::vector<cublasLtMatmulHeuristicResult_t> ask_for_usable(const ProductShape& shape,
                                                            const ProductPlan& plan,
                                                            const ProductTerms& terms, int most) {
  constexpr int kEnough = 16;
  const bool may_split = kernels::is_split_allowed(shape, /*splits=*/2);
  auto results = ask(shape, plan, terms, may_split ? most : std::max(most, kEnough));
  std::erase_if(results, [&shape](const cublasLtMatmulHeuristicResult_t& result) {
    return result.state != CUBLAS_STATUS_SUCCESS || !is_split_allowed(shape, result.algo);
  });
  check(results.empty() ? CUBLAS_STATUS_NOT_SUPPORTED : CUBLAS_STATUS_SUCCESS,
        "choice of an algorithm that does not split the sum", shape);
  results.resize(std::min(results.size(), static_cast<size_t>(most)));
  return results;
}

ProductPlan first_proposal(const ProductShape& shape) {
  ProductPlan plan = describe_operation(shape);
  const ProductTerms terms;
  const cublasLtMatmulHeuristicResult_t result = ask_for_usable(shape, plan, terms, /*most=*/1).front();
  plan.algorithm = result.algo;
  plan.needed_bytes = result.workspaceSize;
  plan.workspace_bytes = static_cast<size_t>(terms.workspace_bytes);
  return plan;
}

// Process-wide. Each thread rebuilds its plans when the generation changes.
struct Choices {
  std::mutex mutex;
  std::shared_ptr<const ProductChoices> in_use;
  std::atomic<uint64_t> generation = 0;
  std::atomic<size_t> workspace_bytes = kProductWorkspaceBytes;
};
Choices& choices_of_process() {
  static auto& choices = *new Choices;
  return choices;
}

ProductPlan new_plan(const ProductShape& shape, const ProductChoices* choices) {
  if (!choices) return first_proposal(shape);
  const auto chosen = choices->algorithms.find(with_choice_alignment(shape));
  if (chosen == choices->algorithms.end()) return first_proposal(shape);
  auto plan = plan_by(shape, chosen->second, choice_terms(shape, choices->workspace_bytes));
  check(plan ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_NOT_SUPPORTED, "the algorithm that was chosen", shape);
  return std::move(*plan);
}

// Per thread, and never freed: at the end of the process the library may be unloaded first.
struct Plans {
  uint64_t generation = 0;
  std::shared_ptr<const ProductChoices> choices;
  std::map<std::pair<ProductShape, int>, ProductPlan> by_shape;  // and by device
};

const ProductPlan& plan_of(const ProductShape& shape) {
  thread_local auto& plans = *new Plans;
  Choices& choices = choices_of_process();
  if (plans.generation != choices.generation) {
    const std::lock_guard guard(choices.mutex);
    plans.generation = choices.generation;
    plans.choices = choices.in_use;
    plans.by_shape.clear();
  }
  const std::pair key(shape, static_cast<int>(c10::cuda::current_device()));
  const auto found = plans.by_shape.find(key);
  if (found != plans.by_shape.end()) return found->second;
  return plans.by_shape.emplace(key, new_plan(shape, plans.choices.get())).first->second;
}

}  // namespace

void use_choices(std::optional<ProductChoices> choices) {
  Choices& of_process = choices_of_process();
  const std::lock_guard guard(of_process.mutex);
  const size_t wanted = choices ? static_cast<size_t>(choices->workspace_bytes) : 0;
  of_process.workspace_bytes = std::max(wanted, kProductWorkspaceBytes);
  of_process.in_use.reset();
  if (choices) of_process.in_use = std::make_shared<const ProductChoices>(std::move(*choices));
  ++of_process.generation;
}

size_t product_workspace_bytes() {
  return choices_of_process().workspace_bytes;
}

void multiply(const Product& product, void* workspace, Stream stream) {
  multiply(product, plan_of(product.shape), workspace, stream);
}

void multiply(const Product& product, const ProductPlan& plan, void* workspace, Stream stream) {
  const float one = 1.0f;
  const float beta = product.accumulate ? 1.0f : 0.0f;
  check(cublasLtMatmul(current_handle(product.shape), plan.operation.get(), &one, product.b, plan.left.get(),
                       product.a, plan.right.get(), &beta, product.out, plan.out.get(), product.out,
                       plan.out.get(), &plan.algorithm, workspace, plan.workspace_bytes, stream),
        "launch", product.shape);
}

ProductLibrary product_library() {
  cudaDeviceProp gpu{};
  const cudaError_t status = cudaGetDeviceProperties(&gpu, static_cast<int>(c10::cuda::current_device()));
  if (status != cudaSuccess) {
    throw core::RunError("CUDA does not report the properties of the GPU: {}.", cudaGetErrorString(status));
  }
  return {.version = fmt::format("cuBLASLt {}", cublasLtGetVersion()),
          .gpu = fmt::format("{}, compute capability {}.{}, {} multiprocessors", gpu.name, gpu.major,
                             gpu.minor, gpu.multiProcessorCount)};
}

std::vector<ProductAlgorithm> propose(const ProductShape& shape, const ProductTerms& terms, int most) {
  std::vector<ProductAlgorithm> algorithms;
  for (const auto& result : ask_for_usable(shape, describe_operation(shape), terms, most)) {
    std::memcpy(algorithms.emplace_back().data(), &result.algo, sizeof result.algo);
  }
  return algorithms;
}

std::shared_ptr<const ProductPlan> make_plan(const ProductShape& shape, const ProductAlgorithm& algorithm,
                                             const ProductTerms& terms) {
  auto plan = plan_by(shape, algorithm, terms);
  return plan ? std::make_shared<ProductPlan>(std::move(*plan)) : nullptr;
}

std::string describe(const ProductPlan& plan) {
  const auto read = [&plan](cublasLtMatmulAlgoConfigAttributes_t which) {
    constexpr uint32_t kUnknown = ~uint32_t{0};
    const uint32_t value = attribute(plan.algorithm, which, kUnknown);
    return value == kUnknown ? "?" : std::to_string(value);
  };
  return fmt::format("algorithm {}, tile {}, stages {}, {} splits, reduction {}, workspace {:.1f} MiB",
                     read(CUBLASLT_ALGO_CONFIG_ID), read(CUBLASLT_ALGO_CONFIG_TILE_ID),
                     read(CUBLASLT_ALGO_CONFIG_STAGES_ID), read(CUBLASLT_ALGO_CONFIG_SPLITK_NUM),
                     read(CUBLASLT_ALGO_CONFIG_REDUCTION_SCHEME),
                     static_cast<double>(plan.needed_bytes) / (1 << 20));
}

}  // namespace ssgpt::kernels::cuda
