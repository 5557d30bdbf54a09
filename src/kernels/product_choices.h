// Measured choices of how the GEMMs of a training run are computed on a GPU: one cuBLASLt algorithm per
// shape. Plain data, stored with the run, and the rule that chooses from timings. Knows nothing of CUDA or
// Torch.
#pragma once

#include "kernels/product_shape.h"

#include <array>
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
