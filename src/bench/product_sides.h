// The ways to compute a matrix product that ssgpt bench products compares.
#pragma once

#include "bench/products.h"

#include <functional>
#include <string>
#include <vector>

namespace ssgpt::bench {

struct ProductRun {
  std::string name;
  // Queues or does the product once, and returns what it was written or added to. May throw.
  std::function<at::Tensor()> call;
  // Chooses an algorithm; called once, before `call`. May be empty, and may throw.
  std::function<void()> prepare;
  std::function<std::string()> detail;  // after prepare(); may be empty
};

// On tensors of their own; ours first.
std::vector<ProductRun> product_runs(const ProductCase& product, const model::Execution& execution);

// Their names, which do not depend on the product. On a CPU "ours", ATen's library, and "oneDNN" where
// has_onednn() (onednn.h).
std::vector<std::string> product_side_names(at::Device device);

// What ATen multiplies with: "MKL"; "ATen" where that is not known by name.
std::string aten_library(at::Device device);

}  // namespace ssgpt::bench
