// Matrix products on a GPU, by cuBLASLt.
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

// out = a b, or += where `accumulate`; the alignments of `shape` hold of these addresses.
struct Product {
  ProductShape shape;
  const void* a;
  const void* b;
  void* out;
  bool accumulate;
};

// What a product of multiply() may use beside its operands, where no choices say otherwise.
constexpr size_t kProductWorkspaceBytes = size_t{32} << 20;

// From now on multiply() computes the shapes of these choices by their algorithms, in all threads of this
// process; without choices every shape is computed as cuBLASLt proposes first.
void use_choices(std::optional<ProductChoices> choices);

// Bytes of workspace that multiply() needs now.
size_t product_workspace_bytes();

// Queues the product on `stream`. How a shape is computed is what was chosen for it (use_choices), else what
// cuBLASLt proposes first, asked for once; with the same library, GPU and alignment that gives the same bits
// each time. fp32 is multiplied as such, never as TF32. workspace: product_workspace_bytes() on the device,
// of this stream alone. Throws core::RunError where cuBLASLt cannot.
void multiply(const Product& product, void* workspace, Stream stream);

// For choosing.

// The library, and the current device.
ProductLibrary product_library();

// The algorithms that cuBLASLt proposes for the current device, the one that it expects to be fastest first,
// `most` at most. Throws core::RunError where there is none.
std::vector<ProductAlgorithm> propose(const ProductShape& shape, const ProductTerms& terms, int most);

// An algorithm for products of one shape on the current device.
struct ProductPlan;

// Null where cuBLASLt does not take this algorithm for the shape on the current device, or it does not keep
// to the terms.
std::shared_ptr<const ProductPlan> make_plan(const ProductShape& shape, const ProductAlgorithm& algorithm,
                                             const ProductTerms& terms);

// multiply() by a plan for its shape. workspace: as many bytes as the terms said.
void multiply(const Product& product, const ProductPlan& plan, void* workspace, Stream stream);

// "algorithm 66, tile 20, stages 36, 4 splits, reduction 2, workspace 12.0 MiB": cuBLASLt's numbers.
std::string describe(const ProductPlan& plan);

}  // namespace ssgpt::kernels::cuda
