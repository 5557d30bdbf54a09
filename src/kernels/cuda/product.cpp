#include "kernels/cuda/product.h"

#include "core/error.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <cublasLt.h>
#include <map>
#include <memory>
#include <tuple>
#include <utility>

#include <c10/cuda/CUDAFunctions.h>
#include <fmt/format.h>

namespace ssgpt::kernels::cuda {
namespace {

void check(cublasStatus_t status, const char* what, const Product& product) {
  if (status == CUBLAS_STATUS_SUCCESS) return;
  throw core::RunError("cuBLASLt cannot multiply {} x {} and {} x {} matrices of {} ({}): {}.", product.m,
                       product.k, product.k, product.n, product.bf16_inputs ? "bfloat16" : "float32", what,
                       cublasLtGetStatusString(status));
}

}  // namespace

// The library counts columns first, so a row-major (r, c) is its (c, r): it computes out^T = b^T a^T.
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
  size_t needed_bytes = 0;     // of workspace,
  size_t workspace_bytes = 0;  // and what it may use
};

namespace {

template <typename Handle>
using Owned = ProductPlan::Owned<Handle>;

// Of an address, up to what the library can make use of.
uint32_t alignment(const void* address) {
  constexpr uintptr_t kMost = 256;
  const auto value = reinterpret_cast<uintptr_t>(address) | kMost;
  return static_cast<uint32_t>(value & (~value + 1));
}

using Key =
    std::tuple<bool, bool, bool, bool, bool, int64_t, int64_t, int64_t, uint32_t, uint32_t, uint32_t, int>;

Key key_of(const Product& product, int device) {
  return {product.a.transposed,
          product.b.transposed,
          product.bf16_inputs,
          product.bf16_out,
          product.accumulate,
          product.m,
          product.n,
          product.k,
          alignment(product.a.data),
          alignment(product.b.data),
          alignment(product.out),
          device};
}

Owned<cublasLtMatrixLayout_t> make_layout(cudaDataType type, int64_t rows, int64_t columns,
                                          const Product& product) {
  cublasLtMatrixLayout_t layout = nullptr;
  check(cublasLtMatrixLayoutCreate(&layout, type, static_cast<uint64_t>(columns), static_cast<uint64_t>(rows),
                                   columns),
        "layout", product);
  return Owned<cublasLtMatrixLayout_t>(layout);
}

Owned<cublasLtMatmulPreference_t> make_preference(const Product& product, const ProductTerms& terms) {
  cublasLtMatmulPreference_t handle = nullptr;
  check(cublasLtMatmulPreferenceCreate(&handle), "preference", product);
  Owned<cublasLtMatmulPreference_t> preference(handle);
  const auto set = [&](cublasLtMatmulPreferenceAttributes_t attribute, const auto& value) {
    check(cublasLtMatmulPreferenceSetAttribute(handle, attribute, &value, sizeof value), "preference",
          product);
  };
  set(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, uint64_t{terms.workspace_bytes});
  // Parts of a sum are added in fp32 and in a fixed order.
  constexpr uint32_t kInFp32 = CUBLASLT_REDUCTION_SCHEME_NONE | CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE;
  set(CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK,
      terms.any_reduction ? uint32_t{CUBLASLT_REDUCTION_SCHEME_MASK} : kInFp32);
  set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, alignment(product.b.data));
  set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, alignment(product.a.data));
  set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, alignment(product.out));
  set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, alignment(product.out));
  return preference;
}

// All but the algorithm.
ProductPlan describe_operation(const Product& product) {
  const cudaDataType input = product.bf16_inputs ? CUDA_R_16BF : CUDA_R_32F;
  const cudaDataType output = product.bf16_out ? CUDA_R_16BF : CUDA_R_32F;
  ProductPlan plan;
  cublasLtMatmulDesc_t operation = nullptr;
  check(cublasLtMatmulDescCreate(&operation, CUBLAS_COMPUTE_32F, CUDA_R_32F), "operation", product);
  plan.operation.reset(operation);
  const cublasOperation_t left = product.b.transposed ? CUBLAS_OP_T : CUBLAS_OP_N;
  const cublasOperation_t right = product.a.transposed ? CUBLAS_OP_T : CUBLAS_OP_N;
  check(cublasLtMatmulDescSetAttribute(operation, CUBLASLT_MATMUL_DESC_TRANSA, &left, sizeof left),
        "operation", product);
  check(cublasLtMatmulDescSetAttribute(operation, CUBLASLT_MATMUL_DESC_TRANSB, &right, sizeof right),
        "operation", product);
  plan.left = product.b.transposed ? make_layout(input, product.n, product.k, product)
                                   : make_layout(input, product.k, product.n, product);
  plan.right = product.a.transposed ? make_layout(input, product.k, product.m, product)
                                    : make_layout(input, product.m, product.k, product);
  plan.out = make_layout(output, product.m, product.n, product);
  return plan;
}

std::vector<cublasLtMatmulHeuristicResult_t> ask(const Product& product, const ProductPlan& plan,
                                                 const ProductTerms& terms, int most,
                                                 cublasLtHandle_t handle) {
  const Owned<cublasLtMatmulPreference_t> preference = make_preference(product, terms);
  std::vector<cublasLtMatmulHeuristicResult_t> results(static_cast<size_t>(most));
  int found = 0;
  check(cublasLtMatmulAlgoGetHeuristic(handle, plan.operation.get(), plan.left.get(), plan.right.get(),
                                       plan.out.get(), plan.out.get(), preference.get(), most, results.data(),
                                       &found),
        "choice of an algorithm", product);
  check(found > 0 ? results.front().state : CUBLAS_STATUS_NOT_SUPPORTED, "choice of an algorithm", product);
  results.resize(static_cast<size_t>(found));
  return results;
}

void take(const cublasLtMatmulHeuristicResult_t& result, const ProductTerms& terms, ProductPlan& plan) {
  plan.algorithm = result.algo;
  plan.needed_bytes = result.workspaceSize;
  plan.workspace_bytes = terms.workspace_bytes;
}

ProductPlan make_plan(const Product& product, cublasLtHandle_t handle) {
  ProductPlan plan = describe_operation(product);
  const ProductTerms terms;
  take(ask(product, plan, terms, /*most=*/1, handle).front(), terms, plan);
  return plan;
}

// Of this thread and the current device, for as long as the process lives, as the plans. Not ATen's: that one
// comes with a workspace of its own, and is set up anew at every call.
cublasLtHandle_t handle_of(int device, const Product& product) {
  thread_local auto& handles = *new std::map<int, cublasLtHandle_t>;
  const auto found = handles.find(device);
  if (found != handles.end()) return found->second;
  cublasLtHandle_t handle = nullptr;
  check(cublasLtCreate(&handle), "handle", product);
  return handles.emplace(device, handle).first->second;
}

// Plans of this thread, for as long as the process lives: at its end the library may be gone before them.
const ProductPlan& plan_of(const Product& product, int device, cublasLtHandle_t handle) {
  thread_local auto& plans = *new std::map<Key, ProductPlan>;
  const Key key = key_of(product, device);
  const auto found = plans.find(key);
  if (found != plans.end()) return found->second;
  return plans.emplace(key, make_plan(product, handle)).first->second;
}

}  // namespace

void multiply(const Product& product, void* workspace, Stream stream) {
  const int device = c10::cuda::current_device();
  multiply(product, plan_of(product, device, handle_of(device, product)), workspace, stream);
}

void multiply(const Product& product, const ProductPlan& plan, void* workspace, Stream stream) {
  const cublasLtHandle_t handle = handle_of(c10::cuda::current_device(), product);
  const float one = 1.0f;
  const float beta = product.accumulate ? 1.0f : 0.0f;
  check(cublasLtMatmul(handle, plan.operation.get(), &one, product.b.data, plan.left.get(), product.a.data,
                       plan.right.get(), &beta, product.out, plan.out.get(), product.out, plan.out.get(),
                       &plan.algorithm, workspace, plan.workspace_bytes, stream),
        "launch", product);
}

std::vector<std::shared_ptr<const ProductPlan>> propose(const Product& product, const ProductTerms& terms,
                                                        int most) {
  const cublasLtHandle_t handle = handle_of(c10::cuda::current_device(), product);
  std::vector<std::shared_ptr<const ProductPlan>> plans;
  for (const auto& result : ask(product, describe_operation(product), terms, most, handle)) {
    if (result.state != CUBLAS_STATUS_SUCCESS) continue;
    auto plan = std::make_shared<ProductPlan>(describe_operation(product));
    take(result, terms, *plan);
    plans.push_back(std::move(plan));
  }
  return plans;
}

std::string describe(const ProductPlan& plan) {
  const auto read = [&plan](cublasLtMatmulAlgoConfigAttributes_t attribute) {
    uint32_t value = 0;
    size_t written = 0;
    const cublasStatus_t status =
        cublasLtMatmulAlgoConfigGetAttribute(&plan.algorithm, attribute, &value, sizeof value, &written);
    return status == CUBLAS_STATUS_SUCCESS ? std::to_string(value) : "?";
  };
  return fmt::format("algorithm {}, tile {}, stages {}, {} splits, reduction {}, workspace {:.1f} MiB",
                     read(CUBLASLT_ALGO_CONFIG_ID), read(CUBLASLT_ALGO_CONFIG_TILE_ID),
                     read(CUBLASLT_ALGO_CONFIG_STAGES_ID), read(CUBLASLT_ALGO_CONFIG_SPLITK_NUM),
                     read(CUBLASLT_ALGO_CONFIG_REDUCTION_SCHEME),
                     static_cast<double>(plan.needed_bytes) / (1 << 20));
}

}  // namespace ssgpt::kernels::cuda
