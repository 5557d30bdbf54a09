#include "bench/products_text.h"

#include "bench/rows.h"
#include "bench/step.h"
#include "core/json.h"
#include "core/text.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <optional>
#include <string_view>
#include <utility>

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

namespace ssgpt::bench {
namespace {

std::string_view dtype_name(const model::Execution& execution) {
  return execution.dtype == at::kBFloat16 ? "bfloat16" : "float32";
}

// FLOP/s in the unit of the table.
std::string speed(const ProductResult& result, const ProductSide& side, bool gpu) {
  if (!side.error.empty()) return "failed";
  return fmt::format("{:.1f}", result.product.flops() / quantile(side.seconds, 0.5) * (gpu ? 1e-12 : 1e-9));
}

// Times of the other side over ours, paired by round.
std::optional<PairedRatio> ratio_to_ours(const ProductResult& result, const ProductSide& side) {
  const ProductSide& ours = result.sides.front();
  if (ours.seconds.size() != side.seconds.size() || side.seconds.empty()) return std::nullopt;
  return paired_ratio(side.seconds, ours.seconds);
}

RowFormat row_format(const ProductReport& report) {
  const bool gpu = !report.execution.device.is_cpu();
  std::vector<RowFormat::Column> columns = {{.title = "GEMM", .width = 43, .left = true},
                                            {.title = "m x n x k", .width = 18, .left = true}};
  if (!gpu) columns.push_back({.title = "threads"});
  for (const std::string& name : report.sides) columns.push_back({.title = name, .width = 6});
  if (gpu) {
    columns.push_back({.title = "best's", .left = true});
  } else {
    for (size_t side = 1; side < report.sides.size(); ++side) {
      columns.push_back(
          {.title = fmt::format("{} / ours, 95 %", report.sides[side]), .width = 19, .left = true});
    }
  }
  return RowFormat(std::move(columns));
}

std::string sides_text(const ProductReport& report) {
  if (!report.execution.device.is_cpu()) {
    return "ours: cuBLASLt's first proposal, split-K reduced in fp32, 32 MiB of workspace; best of 16: the "
           "fastest proposal, as train.tune_products selects it; the others: likewise with SSGPT_LT_MASK=2, "
           "with more workspace; ATen";
  }
  std::string text = fmt::format("{} as ATen calls it", report.library);
  if (report.sides.size() > 2) {
    text += fmt::format("; {} on the same operands, as they lie in memory", report.sides.back());
  }
  return text + "; times over ours with 95 % intervals";
}

// Total time of one side in a micro-batch; nullopt if it failed on any GEMM.
std::optional<double> total_seconds(const std::vector<const ProductResult*>& results, size_t side) {
  double sum = 0.0;
  for (const ProductResult* result : results) {
    const std::vector<double>& seconds = result->sides[side].seconds;
    if (seconds.empty()) return std::nullopt;
    sum += static_cast<double>(result->product.calls) * quantile(seconds, 0.5);
  }
  return sum;
}

std::optional<double> least_ratio(const ProductResult& result) {
  std::optional<double> least;
  for (size_t side = 1; side < result.sides.size(); ++side) {
    const auto ratio = ratio_to_ours(result, result.sides[side]);
    if (ratio && (!least || ratio->ratio < *least)) least = ratio->ratio;
  }
  return least;
}

nlohmann::ordered_json json_of(const ProductResult& result) {
  using Json = nlohmann::ordered_json;
  const ProductCase& product = result.product;
  Json entry = {{"name", product.name},
                {"m", product.m},
                {"n", product.n},
                {"k", product.k},
                {"threads", result.threads},
                {"flops", product.flops()},
                {"accumulates", product.accumulates},
                {"calls", product.calls}};
  entry["sides"] = Json::array();
  for (const ProductSide& side : result.sides) {
    Json of_side = {{"name", side.name}, {"seconds", side.seconds}};
    if (!side.seconds.empty()) of_side["flops_per_second"] = product.flops() / quantile(side.seconds, 0.5);
    if (const auto ratio = ratio_to_ours(result, side); ratio && &side != &result.sides.front()) {
      of_side["time_over_ours"] = {{"ratio", ratio->ratio}, {"low", ratio->low}, {"high", ratio->high}};
    }
    if (!side.detail.empty()) of_side["detail"] = side.detail;
    if (!side.error.empty()) of_side["error"] = side.error;
    entry["sides"].push_back(std::move(of_side));
  }
  return entry;
}

}  // namespace

std::string heading(const ProductReport& report) {
  const bool gpu = !report.execution.device.is_cpu();
  return fmt::format("{}\n{}, {}, median of {} rounds in turn; {}\n", report.device,
                     dtype_name(report.execution), gpu ? "TFLOP/s" : "GFLOP/s", kProductRounds,
                     sides_text(report)) +
         row_format(report).heading();
}

std::string to_row(const ProductReport& report, const ProductResult& result) {
  const bool gpu = !report.execution.device.is_cpu();
  const ProductCase& product = result.product;
  std::vector<std::string> cells = {product.name,
                                    fmt::format("{} x {} x {}", product.m, product.n, product.k)};
  if (!gpu) cells.push_back(std::to_string(result.threads));
  std::string errors;
  for (const ProductSide& side : result.sides) {
    cells.push_back(speed(result, side, gpu));
    if (!side.error.empty()) errors += fmt::format("    {}: {}\n", side.name, side.error);
  }
  if (gpu) {
    cells.push_back(result.sides.at(1).detail);
  } else {
    for (size_t side = 1; side < result.sides.size(); ++side) {
      const auto ratio = ratio_to_ours(result, result.sides[side]);
      cells.push_back(ratio ? fmt::format("{:.3f} ({:.3f}-{:.3f})", ratio->ratio, ratio->low, ratio->high)
                            : "");
    }
  }
  return row_format(report).row(cells) + errors;
}

std::vector<Standing> standings(const ProductReport& report) {
  if (!report.execution.device.is_cpu()) return {};
  std::vector<Standing> all;
  for (const ProductResult& result : report.results) {
    const std::optional<double> ratio = least_ratio(result);
    if (!ratio) continue;
    auto found = std::find_if(all.begin(), all.end(), [&](const Standing& one) {
      return one.shape == result.product.shape && one.threads == result.threads;
    });
    if (found == all.end()) {
      all.push_back({.shape = result.product.shape,
                     .threads = result.threads,
                     .products = 0,
                     .mean = 0.0,  // mean of the logarithms until the end
                     .least = *ratio,
                     .least_product = result.product.name});
      found = all.end() - 1;
    }
    ++found->products;
    found->mean += (std::log(*ratio) - found->mean) / static_cast<double>(found->products);
    if (*ratio < found->least) {
      found->least = *ratio;
      found->least_product = result.product.name;
    }
  }
  for (Standing& one : all) one.mean = std::exp(one.mean);
  return all;
}

std::string totals(const ProductReport& report) {
  std::map<std::string, std::vector<const ProductResult*>> by_shape;
  for (const ProductResult& result : report.results) {
    if (result.threads == report.threads) by_shape[result.product.shape].push_back(&result);
  }
  std::string lines;
  for (const auto& [shape, results] : by_shape) {
    std::vector<std::string> sides;
    for (size_t side = 0; side < results.front()->sides.size(); ++side) {
      if (const auto seconds = total_seconds(results, side)) {
        sides.push_back(fmt::format("{} {:.2f} ms", results.front()->sides[side].name, 1e3 * *seconds));
      }
    }
    lines += fmt::format("a micro-batch of {}, {}: {}\n", shape,
                         core::counted(static_cast<int64_t>(results.size()), "GEMM"), fmt::join(sides, ", "));
  }
  for (const Standing& one : standings(report)) {
    lines += fmt::format(
        "{} on {}, {}: fastest other side / ours {:.3f} in the geometric mean, at least {:.3f} ({})\n",
        one.shape, core::counted(one.threads, "thread"), core::counted(one.products, "GEMM"), one.mean,
        one.least, one.least_product);
  }
  return lines;
}

std::string to_json(const ProductReport& report) {
  using Json = nlohmann::ordered_json;
  Json json = {{"device", report.execution.device.is_cpu() ? "cpu" : "cuda"},
               {"device_name", report.device},
               {"dtype", dtype_name(report.execution)},
               {"threads", report.threads},
               {"library", report.library}};
  json["products"] = Json::array();
  for (const ProductResult& result : report.results) json["products"].push_back(json_of(result));
  if (report.execution.device.is_cpu()) {
    json["fastest_other_over_ours"] = Json::array();
    for (const Standing& one : standings(report)) {
      json["fastest_other_over_ours"].push_back({{"shape", one.shape},
                                                 {"threads", one.threads},
                                                 {"products", one.products},
                                                 {"geometric_mean", one.mean},
                                                 {"least", one.least},
                                                 {"least_product", one.least_product}});
    }
  }
  return core::json_text(json) + "\n";
}

}  // namespace ssgpt::bench
