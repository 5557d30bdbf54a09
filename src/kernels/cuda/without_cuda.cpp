// Replaces this folder's other files in a build without a CUDA toolkit.

#include "core/check.h"
#include "kernels/cuda/nvtx.h"
#include "kernels/cuda/product.h"
#include "kernels/cuda/table.h"

namespace ssgpt::kernels::cuda {

const Table& table() {
  SSGPT_CHECK(false, "this program was built without CUDA");
}

Stream current_stream() {
  SSGPT_CHECK(false, "this program was built without CUDA");
}

void multiply(const Product& /*product*/, void* /*workspace*/, Stream /*stream*/) {
  SSGPT_CHECK(false, "this program was built without CUDA");
}

void multiply(const Product& /*product*/, const ProductPlan& /*plan*/, void* /*workspace*/,
              Stream /*stream*/) {
  SSGPT_CHECK(false, "this program was built without CUDA");
}

std::vector<ProductAlgorithm> propose(const ProductShape& /*shape*/, const ProductTerms& /*terms*/,
                                      int /*most*/) {
  SSGPT_CHECK(false, "this program was built without CUDA");
}

std::shared_ptr<const ProductPlan> make_plan(const ProductShape& /*shape*/,
                                             const ProductAlgorithm& /*algorithm*/,
                                             const ProductTerms& /*terms*/) {
  SSGPT_CHECK(false, "this program was built without CUDA");
}

ProductLibrary product_library() {
  SSGPT_CHECK(false, "this program was built without CUDA");
}

void use_choices(std::optional<ProductChoices> /*choices*/) {
  SSGPT_CHECK(false, "this program was built without CUDA");
}

size_t product_workspace_bytes() {
  SSGPT_CHECK(false, "this program was built without CUDA");
}

std::string describe(const ProductPlan& /*plan*/) {
  SSGPT_CHECK(false, "this program was built without CUDA");
}

void NvtxRanges::begin(std::string_view, const core::Work&) {}
void NvtxRanges::end() {}

}  // namespace ssgpt::kernels::cuda
