// How the matrix products of a training on a GPU are computed where that was measured: for each shape one
// algorithm of cuBLASLt's. Plain data that is stored with the run, and the rule by which times choose; knows
// neither CUDA nor Torch.
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

// What an algorithm is for: out (m, n) = a (m, k) b (k, n), or +=, with sums in fp32.
struct ProductShape {
  int64_t m = 0, n = 0, k = 0;
  bool a_transposed = false, b_transposed = false;              // in memory, which is row-major
  bool bf16_inputs = false, bf16_out = false;                   // else fp32
  int64_t a_alignment = 1, b_alignment = 1, out_alignment = 1;  // of the addresses: bytes, powers of two
  auto operator<=>(const ProductShape&) const = default;
};
std::string to_string(const ProductShape& shape);  // "2304 x 768 x 32768, a transposed, bfloat16 to float32"

// Choices are made and looked up under alignments of this many bytes at most: a parameter has as much or more
// (model/parameters.cpp), by its place, so that the layers of a model share their choices.
inline constexpr int64_t kChoiceAlignment = 64;
ProductShape with_choice_alignment(ProductShape shape);

// How the parts of a sum that is split are added, as cublasLtReductionScheme_t counts the ways: one after the
// other in the output (1); in the workspace in fp32 (2); in the workspace in the output's dtype (4).
inline constexpr uint32_t kReduceInFp32 = 2;
inline constexpr uint32_t kReduceAnyhow = 7;

// What an algorithm may use.
struct ProductTerms {
  int64_t workspace_bytes = int64_t{32} << 20;  // as cuBLAS advises for Hopper
  uint32_t reductions = kReduceInFp32;
};
// The terms of choices: all ways of adding up are in fp32 where the output is, and none but its own where it
// is not.
ProductTerms choice_terms(const ProductShape& shape, int64_t workspace_bytes,
                          uint32_t fp32_reductions = kReduceAnyhow);

// The bytes of a cublasLtMatmulAlgo_t, which cuBLASLt lets be stored and restored for the same version of it.
using ProductAlgorithm = std::array<uint64_t, 8>;

struct ProductLibrary {
  std::string version;  // "cuBLASLt 130100"
  std::string gpu;      // "NVIDIA H100 80GB HBM3, compute capability 9.0, 132 multiprocessors"
  bool operator==(const ProductLibrary&) const = default;
};
std::string to_string(const ProductLibrary& library);  // "cuBLASLt 130100 on NVIDIA H100 ..."

struct ProductChoices {
  ProductLibrary library;  // to which alone the algorithms mean something
  int64_t workspace_bytes = ProductTerms().workspace_bytes;
  std::map<ProductShape, ProductAlgorithm> algorithms;
  bool operator==(const ProductChoices&) const = default;
};

nlohmann::ordered_json to_json(const ProductChoices& choices);
// Throws core::InputError, with the key, where `fields` is not of the form that to_json() writes.
ProductChoices read_product_choices(const core::JsonFields& fields);

struct FastestCandidate {
  size_t index = 0;
  double seconds = 0.0;        // the median over the rounds
  double first_seconds = 0.0;  // of the first that can be measured, likewise
};
// Which of `count` candidates is the fastest. `measure` gives the seconds of one now, none where it fails.
// All are measured once; then the first and the fastest three others in six rounds, in turn, every second one
// in opposite order, so that a drifting clock meets all alike. Another than the first is taken where its time
// over the first's, the median over pairs of rounds, is below 0.99: what is noise changes nothing. None where
// the first that can be measured fails later, or none can be measured.
std::optional<FastestCandidate> fastest_candidate(
    size_t count, const std::function<std::optional<double>(size_t)>& measure);

}  // namespace ssgpt::kernels
