// Shapes of GEMMs on a GPU, and the rules for the cuBLASLt algorithms that may compute them. Plain data.
// Knows nothing of CUDA or Torch.
#pragma once

#include <compare>
#include <cstdint>
#include <string>
#include <string_view>

namespace ssgpt::kernels {

// "bfloat16" or "float32", as in texts and files.
std::string_view dtype_name(bool bf16);

// Key of an algorithm: out (m, n) = a (m, k) b (k, n), or +=, with sums in fp32.
struct ProductShape {
  int64_t m = 0, n = 0, k = 0;
  bool a_transposed = false, b_transposed = false;              // in memory, which is row-major
  bool bf16_inputs = false, bf16_out = false;                   // otherwise fp32
  int64_t a_alignment = 1, b_alignment = 1, out_alignment = 1;  // of the addresses: bytes, powers of two
  auto operator<=>(const ProductShape&) const = default;
};
std::string to_string(const ProductShape& shape);  // "2304 x 768 x 32768, a transposed, bfloat16 to float32"

// Choices are made and looked up with alignments capped at this many bytes: every parameter's offset
// guarantees at least as much (model/parameters.cpp), so that all layers of a model share their choices.
inline constexpr int64_t kChoiceAlignment = 64;
ProductShape with_choice_alignment(ProductShape shape);

// Reduction schemes of split-K, as a bit mask of cublasLtReductionScheme_t: in place in the output (1); in
// the workspace in fp32 (2); in the workspace in the output's dtype (4).
inline constexpr uint32_t kReduceInFp32 = 2;
inline constexpr uint32_t kReduceAnyhow = 7;

// Limits on an algorithm.
struct ProductTerms {
  int64_t workspace_bytes = int64_t{32} << 20;  // cuBLAS's recommendation for Hopper
  uint32_t reductions = kReduceInFp32;
};
// Limits under which choices are made: for an fp32 output, where every reduction scheme is in fp32,
// `fp32_reductions`; for bf16, only reduction in fp32.
ProductTerms choice_terms(const ProductShape& shape, int64_t workspace_bytes,
                          uint32_t fp32_reductions = kReduceAnyhow);

// Whether a GEMM of this shape may be computed by an algorithm that divides the sum over k into `splits`
// parts. Some of cuBLASLt's algorithms, where they split a sum, add whole blocks of k only and leave out the
// rest without an error, which also makes them the fastest. Their blocks divide 128.
bool is_split_allowed(const ProductShape& shape, uint32_t splits);

// The reduction schemes under which to ask for algorithms: those of the terms, or 0, without split-K, where
// no split is allowed.
uint32_t reductions_to_ask_for(const ProductShape& shape, const ProductTerms& terms);

}  // namespace ssgpt::kernels
