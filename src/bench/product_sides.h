// The implementations of a GEMM that ssgpt bench products compares.
#pragma once

#include "bench/products.h"

#include <functional>
#include <string>
#include <vector>

namespace ssgpt::bench {

struct ProductRun {
  std::string name;
  // Queues or computes the GEMM once and returns its output. May throw.
  std::function<at::Tensor()> call;
  // Selects an algorithm; called once, before `call`. May be empty, and may throw.
  std::function<void()> prepare;
  std::function<std::string()> detail;  // call after prepare(); may be empty
};

// Returns the implementations, ours first, each with its own output tensor.
std::vector<ProductRun> product_runs(const ProductCase& product, const model::Execution& execution);

// Names of the implementations, which do not depend on the GEMM. On a CPU "ours", ATen's library, and
// "oneDNN" if has_onednn() (onednn.h).
std::vector<std::string> product_side_names(at::Device device);

// The library behind ATen's GEMM: "MKL"; "ATen" if it is not known by name.
std::string aten_library(at::Device device);

}  // namespace ssgpt::bench
