// Times the matrix products of a training step beside other ways to compute them, in turn: on a CPU beside
// ATen's library and oneDNN, on a GPU beside other choices of cuBLASLt and ATen's.
#pragma once

#include "bench/kernel_cases.h"
#include "bench/processor.h"
#include "model/gpt.h"

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>

namespace ssgpt::bench {

// out (m, n) = a (m, k) b (k, n), or += in fp32 where it accumulates: a weight gradient.
struct ProductCase {
  std::string shape;  // of the model: "quickstart"
  std::string name;   // "qkv weight gradient/quickstart": as `bench step` names it, and the shape
  int64_t m = 0, n = 0, k = 0;
  bool a_transposed = false, b_transposed = false;  // in memory
  bool accumulates = false;
  int64_t calls = 1;  // in a micro-batch of the whole model
  double flops() const {
    return 2.0 * static_cast<double>(m) * static_cast<double>(n) * static_cast<double>(k);
  }
};

// Those of a step with this shape on this device, in the order of the step: forward, head, backward.
std::vector<ProductCase> product_cases(const KernelShape& shape, const model::Execution& execution);

struct ProductOptions {
  model::Execution execution = {};
  std::string filter = ".";  // regular expression on ProductCase::name
  double min_seconds = 0.2;  // that each side is repeated for, at least
};

inline constexpr int kProductRounds = 8;

// One way to compute a product.
struct ProductSide {
  std::string name;             // "ours"; of a GPU's also what cuBLASLt was asked for
  std::vector<double> seconds;  // of a call, by round
  std::string detail;           // the algorithm, where it is known
  std::string error;            // why there are no seconds
};

struct ProductResult {
  ProductCase product;
  int threads = 1;
  std::vector<ProductSide> sides;  // ours is the first
};

struct ProductReport {
  model::Execution execution;
  int threads = 1;                 // at most
  std::vector<std::string> sides;  // their names, ours first
  std::string library;             // what ATen multiplies with: "MKL"
  std::string device;              // the GPU, or the processor
  std::vector<ProductResult> results;
};

// Each product on one thread and on all, on a GPU once; the sides take turns, in the opposite order every
// second round. A side that throws is left out from there on, and its error kept. `begun` is called with the
// report without results before the first is measured, `measured` with each result when it is there. Throws
// core::UsageError for a filter that is no expression or matches nothing.
ProductReport measure_products(
    const ProductOptions& options, const std::function<void(const ProductReport&)>& begun,
    const std::function<void(const ProductReport&, const ProductResult&)>& measured);

}  // namespace ssgpt::bench
