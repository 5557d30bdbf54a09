// The report of ssgpt bench products as a table and as JSON.
#pragma once

#include "bench/products.h"

#include <string>
#include <vector>

namespace ssgpt::bench {

// The table, whose rows can be printed as they come.
std::string heading(const ProductReport& report);
std::string to_row(const ProductReport& report, const ProductResult& result);

// How ours stands beside the fastest of the others, over the products of one shape of a model on so many
// threads. The ratios are times of the fastest other side over ours: above 1, ours is the faster.
struct Standing {
  std::string shape;
  int threads = 1;
  int64_t products = 0;  // that ours and one other side at least computed
  double mean = 1.0;     // the geometric one of their ratios
  double least = 1.0;
  std::string least_product;  // that has it
};

// By shape and threads, in the order in which they were measured. None for a GPU, whose sides are settings of
// one library.
std::vector<Standing> standings(const ProductReport& report);

// What the products that were measured take in a micro-batch of the whole model by each side, on all threads:
// "a micro-batch of paper: ours 38.12 ms, best of 16 36.90 ms, ...". A side that one of them failed on is
// left out; a line for each shape of a model, and one for each standing, with line breaks behind them.
std::string totals(const ProductReport& report);
std::string to_json(const ProductReport& report);  // with a line break behind it

}  // namespace ssgpt::bench
