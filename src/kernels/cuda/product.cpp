#include "kernels/cuda/product.h"

#include "core/error.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <cublasLt.h>
#include <map>
#include <memory>
#include <tuple>

#include <c10/cuda/CUDAFunctions.h>

namespace ssgpt::kernels::cuda {
namespace {

void check(cublasStatus_t status, const char* what, const Product& product) {
  if (status == CUBLAS_STATUS_SUCCESS) return;
  throw core::RunError("cuBLASLt cannot multiply {} x {} and {} x {} matrices of {} ({}): {}.", product.m,
                       product.k, product.k, product.n, product.bf16_inputs ? "bfloat16" : "float32", what,
                       cublasLtGetStatusString(status));
}

struct Destroy {
  void operator()(cublasLtMatmulDesc_t operation) const { cublasLtMatmulDescDestroy(operation); }
  void operator()(cublasLtMatrixLayout_t layout) const { cublasLtMatrixLayoutDestroy(layout); }
  void operator()(cublasLtMatmulPreference_t preference) const {
    cublasLtMatmulPreferenceDestroy(preference);
  }
};
template <typename Handle>
using Owned = std::unique_ptr<std::remove_pointer_t<Handle>, Destroy>;

// The library counts columns first, so a row-major (r, c) is its (c, r): it computes out^T = b^T a^T.
struct Plan {
  Owned<cublasLtMatmulDesc_t> operation;
  Owned<cublasLtMatrixLayout_t> left, right, out;  // b, a, out
  cublasLtMatmulAlgo_t algorithm;
};

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

Owned<cublasLtMatmulPreference_t> make_preference(const Product& product) {
  cublasLtMatmulPreference_t handle = nullptr;
  check(cublasLtMatmulPreferenceCreate(&handle), "preference", product);
  Owned<cublasLtMatmulPreference_t> preference(handle);
  const auto set = [&](cublasLtMatmulPreferenceAttributes_t attribute, const auto& value) {
    check(cublasLtMatmulPreferenceSetAttribute(handle, attribute, &value, sizeof value), "preference",
          product);
  };
  set(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, uint64_t{kProductWorkspaceBytes});
  // Parts of a sum are added in fp32 and in a fixed order.
  set(CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK,
      uint32_t{CUBLASLT_REDUCTION_SCHEME_NONE | CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE});
  set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, alignment(product.b.data));
  set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, alignment(product.a.data));
  set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, alignment(product.out));
  set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, alignment(product.out));
  return preference;
}

Plan make_plan(const Product& product, cublasLtHandle_t handle) {
  const cudaDataType input = product.bf16_inputs ? CUDA_R_16BF : CUDA_R_32F;
  const cudaDataType output = product.bf16_out ? CUDA_R_16BF : CUDA_R_32F;
  Plan plan;
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

  const Owned<cublasLtMatmulPreference_t> preference = make_preference(product);
  cublasLtMatmulHeuristicResult_t result = {};
  int found = 0;
  check(cublasLtMatmulAlgoGetHeuristic(handle, operation, plan.left.get(), plan.right.get(), plan.out.get(),
                                       plan.out.get(), preference.get(), /*requestedAlgoCount=*/1, &result,
                                       &found),
        "choice of an algorithm", product);
  check(found == 1 ? result.state : CUBLAS_STATUS_NOT_SUPPORTED, "choice of an algorithm", product);
  plan.algorithm = result.algo;
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
const Plan& plan_of(const Product& product, int device, cublasLtHandle_t handle) {
  thread_local auto& plans = *new std::map<Key, Plan>;
  const Key key = key_of(product, device);
  const auto found = plans.find(key);
  if (found != plans.end()) return found->second;
  return plans.emplace(key, make_plan(product, handle)).first->second;
}

}  // namespace

void multiply(const Product& product, void* workspace, Stream stream) {
  const int device = c10::cuda::current_device();
  const cublasLtHandle_t handle = handle_of(device, product);
  const Plan& plan = plan_of(product, device, handle);
  const float one = 1.0f;
  const float beta = product.accumulate ? 1.0f : 0.0f;
  check(cublasLtMatmul(handle, plan.operation.get(), &one, product.b.data, plan.left.get(), product.a.data,
                       plan.right.get(), &beta, product.out, plan.out.get(), product.out, plan.out.get(),
                       &plan.algorithm, workspace, kProductWorkspaceBytes, stream),
        "launch", product);
}

}  // namespace ssgpt::kernels::cuda
