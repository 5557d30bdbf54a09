// The functions of table.h, product.h and nvtx.h in the program itself: they call those of libssgpt_cuda.so,
// where table.cpp and product.cpp define them.

#include "device/cuda_library.h"
#include "kernels/cuda/functions.h"
#include "kernels/cuda/nvtx.h"

#include <string>
#include <utility>

namespace ssgpt::kernels::cuda {
namespace {

const Functions& functions() {
  static const Functions& functions = device::cuda_functions<Functions>(kFunctions);
  return functions;
}

}  // namespace

const Table& table() {
  return functions().table();
}

Stream current_stream() {
  return functions().current_stream();
}

void use_choices(std::optional<ProductChoices> choices) {
  functions().use_choices(std::move(choices));
}

size_t product_workspace_bytes() {
  return functions().product_workspace_bytes();
}

void multiply(const Product& product, void* workspace, Stream stream) {
  functions().multiply(product, workspace, stream);
}

void multiply(const Product& product, const ProductPlan& plan, void* workspace, Stream stream) {
  functions().multiply_by_plan(product, plan, workspace, stream);
}

ProductLibrary product_library() {
  return functions().product_library();
}

std::vector<ProductAlgorithm> propose(const ProductShape& shape, const ProductTerms& terms, int most) {
  return functions().propose(shape, terms, most);
}

std::shared_ptr<const ProductPlan> make_plan(const ProductShape& shape, const ProductAlgorithm& algorithm,
                                             const ProductTerms& terms) {
  return functions().make_plan(shape, algorithm, terms);
}

std::string describe(const ProductPlan& plan) {
  return functions().describe(plan);
}

void NvtxRanges::begin(std::string_view name, const core::Work&) {
  functions().begin_range(std::string(name).c_str());
}

void NvtxRanges::end() {
  functions().end_range();
}

}  // namespace ssgpt::kernels::cuda
