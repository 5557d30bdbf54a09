// GEMM on a GPU by cuBLASLt.
#pragma once

#include "kernels/cuda/table.h"
#include "kernels/product_choices.h"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace ssgpt::kernels::cuda {

// out = a b, or += where `accumulate`; these addresses have at least the alignments of `shape`.
struct Product {
  ProductShape shape;
  const void* a;
  const void* b;
  void* out;
  bool accumulate;
};

// Workspace of multiply() in bytes, unless choices need more.
constexpr size_t kProductWorkspaceBytes = size_t{32} << 20;

// From now on multiply() computes the shapes in these choices by their algorithms, in all threads of this
// process; without choices it uses the first algorithm of cuBLASLt's heuristic that is allowed for the
// shape (is_split_allowed).
void use_choices(std::optional<ProductChoices> choices);

// Workspace that multiply() currently needs, in bytes.
size_t product_workspace_bytes();

// Queues the GEMM on `stream`. Uses the algorithm chosen for the shape, or else the first one of cuBLASLt's
// heuristic (use_choices), which is queried once; with the same library, GPU and alignment the bits are the
// same every time. fp32 inputs are multiplied in fp32, never TF32. workspace: product_workspace_bytes() on
// the device, used by this stream alone. Throws core::RunError if cuBLASLt fails.
void multiply(const Product& product, void* workspace, Stream stream);

// Functions for choosing algorithms.

// The library and the current device.
ProductLibrary product_library();

// Returns at most `most` algorithms that cuBLASLt's heuristic proposes for the current device and that are
// allowed for the shape (is_split_allowed), the expected fastest first. Throws core::RunError if there are
// none.
std::vector<ProductAlgorithm> propose(const ProductShape& shape, const ProductTerms& terms, int most);

// An algorithm for GEMMs of one shape on the current device.
struct ProductPlan;

// Returns null if cuBLASLt rejects this algorithm for the shape on the current device, or if it does not keep
// to the terms or is not allowed for the shape (is_split_allowed).
std::shared_ptr<const ProductPlan> make_plan(const ProductShape& shape, const ProductAlgorithm& algorithm,
                                             const ProductTerms& terms);

// multiply() with a plan for its shape. workspace: as many bytes as the terms allowed.
void multiply(const Product& product, const ProductPlan& plan, void* workspace, Stream stream);

// "algorithm 66, tile 20, stages 36, 4 splits, reduction 2, workspace 12.0 MiB", with cuBLASLt's ids.
std::string describe(const ProductPlan& plan);

}  // namespace ssgpt::kernels::cuda
