// Autotuning of GEMMs on a GPU: measures cuBLASLt's proposals for a GEMM against each other.
#pragma once

#include "kernels/product_of.h"

#include <cstddef>
#include <memory>
#include <string>

#include <ATen/core/Tensor.h>

namespace ssgpt::model {

struct ProductOperands {
  at::Tensor a, b;  // (m, k), (k, n), as laid out in memory
  at::Tensor out;   // (m, n)
};

// Random operands for a GEMM of this shape and its dtypes, and zeros to write or accumulate into; no tensor
// of a model is touched. A GPU's clock depends on how many bits toggle, so the values are random; at a
// standard deviation of 0.1 they stay finite however often they accumulate. The alignment is that of new
// tensors.
ProductOperands make_product_operands(const kernels::ProductShape& shape, at::Device device);

// Number of cuBLASLt proposals that a training run measures.
inline constexpr int kTunedProposals = 16;

struct TunedProduct {
  kernels::ProductAlgorithm algorithm{};
  std::shared_ptr<const kernels::cuda::ProductPlan> plan;
  size_t number = 0;           // of the proposal, from 1
  size_t proposals = 0;        // number of proposals
  double seconds = 0.0;        // per call
  double first_seconds = 0.0;  // of the first proposal; equals `seconds` if that one won
};

// Selects the fastest of cuBLASLt's first `most` proposals for the GEMM (kernels::fastest_candidate),
// measured on the current stream; the contents of product.out are lost. workspace: terms.workspace_bytes on
// the device. Throws core::RunError if none computes the GEMM.
TunedProduct tune_product(const kernels::cuda::Product& product, const kernels::ProductTerms& terms, int most,
                          void* workspace, at::Device device);

// Selects proposal `number`, from 1, or the first if there are fewer; without measuring. Throws
// core::RunError if there is none.
TunedProduct take_proposal(const kernels::ProductShape& shape, const kernels::ProductTerms& terms,
                           size_t number);

// "number 3 of 16: algorithm 66, tile 20, ..."
std::string to_string(const TunedProduct& product);

}  // namespace ssgpt::model
