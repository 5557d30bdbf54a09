// Benchmarks the GEMMs of a training step against other implementations, in turn: on a CPU against ATen's
// library and oneDNN, on a GPU against other algorithms of cuBLASLt and against ATen.
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

// out (m, n) = a (m, k) b (k, n), or, if it accumulates, += in fp32: a weight gradient.
struct ProductCase {
  std::string shape;  // name of the model shape: "quickstart"
  std::string name;   // "qkv weight gradient/quickstart": name in `bench step`, and the shape
  int64_t m = 0, n = 0, k = 0;
  bool a_transposed = false, b_transposed = false;  // in memory
  bool accumulates = false;
  int64_t calls = 1;  // per micro-batch of the whole model
  double flops() const {
    return 2.0 * static_cast<double>(m) * static_cast<double>(n) * static_cast<double>(k);
  }
};

// GEMMs of a step with this shape on this device, in the order of the step: forward, head, backward.
std::vector<ProductCase> product_cases(const KernelShape& shape, const model::Execution& execution);

struct ProductOptions {
  model::Execution execution = {};
  std::string filter = ".";  // regular expression on ProductCase::name
  double min_seconds = 0.2;  // minimum duration per side
};

inline constexpr int kProductRounds = 8;

// One implementation of a GEMM.
struct ProductSide {
  std::string name;             // "ours"; on a GPU also how cuBLASLt's algorithm was selected
  std::vector<double> seconds;  // per call, by round
  std::string detail;           // the algorithm, if known
  std::string error;            // why there are no times
};

struct ProductResult {
  ProductCase product;
  int threads = 1;
  std::vector<ProductSide> sides;  // ours is the first
};

struct ProductReport {
  model::Execution execution;
  int threads = 1;                 // at most
  std::vector<std::string> sides;  // names, ours first
  std::string library;             // library behind ATen's GEMM: "MKL"
  std::string device;              // the GPU, or the processor
  std::vector<ProductResult> results;
};

// Measures each GEMM on one thread and on all, on a GPU once; the sides take turns, in reverse order every
// second round. A side that throws is skipped from then on, and its error kept. `begun` is called with the
// report, still without results, before the first measurement, and `measured` with each new result. Throws
// core::UsageError if the filter is not a regular expression or matches nothing.
ProductReport measure_products(
    const ProductOptions& options, const std::function<void(const ProductReport&)>& begun,
    const std::function<void(const ProductReport&, const ProductResult&)>& measured);

}  // namespace ssgpt::bench
