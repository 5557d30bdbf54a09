// Matrix products on a GPU measured beside each other: cuBLASLt's proposals for one product, and which of
// them is the fastest.
#pragma once

#include "kernels/product_of.h"

#include <cstddef>
#include <memory>
#include <string>

#include <ATen/core/Tensor.h>

namespace ssgpt::model {

struct ProductOperands {
  at::Tensor a, b;  // (m, k), (k, n), as they lie in memory
  at::Tensor out;   // (m, n)
};

// Random operands for a product, of a shape's dtypes, and zeros to write or add to: nothing of a model is
// touched. A GPU's clock depends on how many bits change, and numbers of this size, 0.1 in the mean, stay
// finite however often they are added to. The alignment is that of new tensors.
ProductOperands make_product_operands(const kernels::ProductShape& shape, at::Device device);

// How many of cuBLASLt's proposals a training measures.
inline constexpr int kTunedProposals = 16;

struct TunedProduct {
  kernels::ProductAlgorithm algorithm{};
  std::shared_ptr<const kernels::cuda::ProductPlan> plan;
  size_t number = 0;           // of the proposal, from 1
  size_t proposals = 0;        // how many there were
  double seconds = 0.0;        // of a call
  double first_seconds = 0.0;  // of the first proposal; that of `seconds` where it is the one
};

// Of cuBLASLt's first `most` proposals for the product the fastest (kernels::fastest_candidate), measured on
// the current stream; what is in product.out is lost. workspace: terms.workspace_bytes on the device. Throws
// core::RunError where none computes the product.
TunedProduct tune_product(const kernels::cuda::Product& product, const kernels::ProductTerms& terms, int most,
                          void* workspace, at::Device device);

// Number `number` of the proposals, from 1, or the first where there are fewer; not measured. Throws
// core::RunError where there is none.
TunedProduct take_proposal(const kernels::ProductShape& shape, const kernels::ProductTerms& terms,
                           size_t number);

// "number 3 of 16: algorithm 66, tile 20, ..."
std::string to_string(const TunedProduct& product);

}  // namespace ssgpt::model
