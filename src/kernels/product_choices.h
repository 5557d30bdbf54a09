// Measured choices of how the GEMMs of a training run are computed on a GPU: one cuBLASLt algorithm per
// shape. Plain data, stored with the run, and the rule that chooses from timings. Knows nothing of CUDA or
// Torch.
#pragma once

#include <array>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include <nlohmann/json_fwd.hpp>

namespace ssgpt::core {
class JsonFields;
}

namespace ssgpt::kernels {

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

// Bytes of a cublasLtMatmulAlgo_t, which may be stored and restored with the same version of cuBLASLt.
using ProductAlgorithm = std::array<uint64_t, 8>;

struct ProductLibrary {
  std::string version;  // "cuBLASLt 130100"
  std::string gpu;      // "NVIDIA H100 80GB HBM3, compute capability 9.0, 132 multiprocessors"
  bool operator==(const ProductLibrary&) const = default;
};
std::string to_string(const ProductLibrary& library);  // "cuBLASLt 130100 on NVIDIA H100 ..."

struct ProductChoices {
  ProductLibrary library;  // the algorithms are valid for this library only
  int64_t workspace_bytes = ProductTerms().workspace_bytes;
  std::map<ProductShape, ProductAlgorithm> algorithms;
  bool operator==(const ProductChoices&) const = default;
};

nlohmann::ordered_json to_json(const ProductChoices& choices);
// Throws core::InputError, with the key, where `fields` is not of the form that to_json() writes.
ProductChoices read_product_choices(const core::JsonFields& fields);

struct FastestCandidate {
  size_t index = 0;
  double seconds = 0.0;        // median over the rounds
  double first_seconds = 0.0;  // likewise, of the first candidate that can be measured
};
// Finds the fastest of `count` candidates. `measure` returns the seconds of one run of a candidate, or
// nullopt if it fails. All are measured once; then the first and the fastest three others in six rounds, with
// every second round in reverse order, so that clock drift affects all alike. A candidate replaces the first
// only if its time relative to the first's, as the median over pairs of rounds, is below 0.99: noise changes
// nothing. Returns nullopt if the first that can be measured fails later, or none can be measured.
std::optional<FastestCandidate> fastest_candidate(
    size_t count, const std::function<std::optional<double>(size_t)>& measure);

}  // namespace ssgpt::kernels
