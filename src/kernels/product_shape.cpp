#include "kernels/product_shape.h"

#include <algorithm>

#include <fmt/format.h>

namespace ssgpt::kernels {

std::string_view dtype_name(bool bf16) {
  return bf16 ? "bfloat16" : "float32";
}

std::string to_string(const ProductShape& shape) {
  std::string text = fmt::format("{} x {} x {}", shape.m, shape.n, shape.k);
  if (shape.a_transposed) text += ", a transposed";
  if (shape.b_transposed) text += ", b transposed";
  return text + fmt::format(", {} to {}", dtype_name(shape.bf16_inputs), dtype_name(shape.bf16_out));
}

ProductShape with_choice_alignment(ProductShape shape) {
  for (int64_t* bytes : {&shape.a_alignment, &shape.b_alignment, &shape.out_alignment}) {
    *bytes = std::min(*bytes, kChoiceAlignment);
  }
  return shape;
}

ProductTerms choice_terms(const ProductShape& shape, int64_t workspace_bytes, uint32_t fp32_reductions) {
  return {.workspace_bytes = workspace_bytes, .reductions = shape.bf16_out ? kReduceInFp32 : fp32_reductions};
}

bool is_split_allowed(const ProductShape& shape, uint32_t splits) {
  constexpr int64_t kLargestBlock = 128;
  return splits <= 1 || shape.k % kLargestBlock == 0;
}

uint32_t reductions_to_ask_for(const ProductShape& shape, const ProductTerms& terms) {
  return is_split_allowed(shape, /*splits=*/2) ? terms.reductions : 0;
}

}  // namespace ssgpt::kernels
