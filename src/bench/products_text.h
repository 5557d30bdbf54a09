// The report of ssgpt bench products as a table and as JSON.
#pragma once

#include "bench/products.h"

#include <string>
#include <vector>

namespace ssgpt::bench {

// The table, whose rows can be printed as results arrive.
std::string heading(const ProductReport& report);
std::string to_row(const ProductReport& report, const ProductResult& result);

// Summary of ours against the fastest other side, over the GEMMs of one model shape on a number of threads.
// The ratios are the time of the fastest other side over ours: above 1, ours is faster.
struct Standing {
  std::string shape;
  int threads = 1;
  int64_t products = 0;  // computed by ours and at least one other side
  double mean = 1.0;     // geometric mean of the ratios
  double least = 1.0;
  std::string least_product;  // the product with the least ratio
};

// One per shape and number of threads, in measuring order. Empty for a GPU, whose sides are settings of one
// library.
std::vector<Standing> standings(const ProductReport& report);

// Total time of the measured GEMMs in a micro-batch of the whole model, per side, on all threads: "a
// micro-batch of paper: ours 38.12 ms, best of 16 36.90 ms, ...". A side that failed on any of them is left
// out. One line per model shape and one per standing, each with a line break.
std::string totals(const ProductReport& report);
std::string to_json(const ProductReport& report);  // with a trailing line break

}  // namespace ssgpt::bench
