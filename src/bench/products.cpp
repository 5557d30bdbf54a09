#include "bench/products.h"

#include "bench/device_memory.h"
#include "bench/product_sides.h"
#include "bench/rows.h"
#include "core/error.h"
#include "device/gpu.h"
#include "model/device_timing.h"
#include "model/head.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <regex>
#include <string_view>
#include <utility>

#include <ATen/Parallel.h>
#include <fmt/format.h>

namespace ssgpt::bench {
namespace {

// Sets the number of threads of ATen's operations and of ours during its lifetime.
class ThreadLimit {
 public:
  explicit ThreadLimit(int threads) : before_(at::get_num_threads()) { at::set_num_threads(threads); }
  ~ThreadLimit() { at::set_num_threads(before_); }
  ThreadLimit(const ThreadLimit&) = delete;
  ThreadLimit& operator=(const ThreadLimit&) = delete;

 private:
  int before_;
};

// Measures one side.
class Turns {
 public:
  Turns(ProductRun run, at::Device device) : run_(std::move(run)), marks_(model::make_marks(device)) {
    side_.name = run_.name;
  }

  // Warms up caches and threads, and determines the number of calls in a turn of `seconds`.
  void begin(double seconds) {
    guarded([&] {
      if (run_.prepare) run_.prepare();
      if (run_.detail) side_.detail = run_.detail();
      take(/*calls=*/2);
      calls_ = static_cast<int>(std::clamp(std::ceil(seconds / take(/*calls=*/2)), 1.0, 10000.0));
    });
  }
  void turn() {
    guarded([&] { side_.seconds.push_back(take(calls_)); });
  }

  ProductSide take_result() { return std::move(side_); }

 private:
  // Returns the seconds per call.
  double take(int calls) {
    const size_t begin = marks_->set();
    for (int call = 0; call < calls; ++call) run_.call();
    const size_t end = marks_->set();
    marks_->wait();
    const double seconds = marks_->seconds(begin, end);
    marks_->clear();
    return seconds / calls;
  }
  template <typename Work>
  void guarded(const Work& work) {
    if (!side_.error.empty()) return;
    try {
      work();
    } catch (const std::exception& error) {
      side_.error = error_cell(error.what());
      side_.seconds.clear();
    }
  }

  const ProductRun run_;
  const std::unique_ptr<model::DeviceMarks> marks_;
  ProductSide side_;
  int calls_ = 1;
};

ProductResult measure(const ProductCase& product, int threads, const ProductOptions& options) {
  const at::Device device = options.execution.device;
  const ThreadLimit limit(threads);
  ProductResult result{.product = product, .threads = threads, .sides = {}};
  std::vector<std::unique_ptr<Turns>> sides;
  try {
    for (ProductRun& run : product_runs(product, options.execution)) {
      sides.push_back(std::make_unique<Turns>(std::move(run), device));
    }
  } catch (const std::exception& error) {  // not enough memory for the operands
    for (const std::string& name : product_side_names(device)) {
      result.sides.push_back({.name = name, .seconds = {}, .detail = {}, .error = error_cell(error.what())});
    }
    return result;
  }
  for (const auto& side : sides) side->begin(options.min_seconds / kProductRounds);
  for (int round = 0; round < kProductRounds; ++round) {
    for (size_t turn = 0; turn < sides.size(); ++turn) {
      sides[round % 2 == 0 ? turn : sides.size() - 1 - turn]->turn();
    }
  }
  for (const auto& side : sides) result.sides.push_back(side->take_result());
  return result;
}

std::vector<ProductCase> matching_cases(const ProductOptions& options) {
  const at::Device device = options.execution.device;
  std::vector<ProductCase> all, matching;
  for (const KernelShape& shape : kernel_shapes(device)) {
    const std::vector<ProductCase> of_shape = product_cases(shape, options.execution);
    all.insert(all.end(), of_shape.begin(), of_shape.end());
  }
  try {
    const std::regex filter(options.filter);
    std::copy_if(all.begin(), all.end(), std::back_inserter(matching),
                 [&](const ProductCase& one) { return std::regex_search(one.name, filter); });
  } catch (const std::regex_error&) {
    throw core::UsageError("--filter {}: not a regular expression (ECMAScript).", options.filter);
  }
  if (matching.empty()) {
    throw core::UsageError("--filter {}: matches no GEMM; names are like '{}'.", options.filter,
                           all.front().name);
  }
  return matching;
}

}  // namespace

std::vector<ProductCase> product_cases(const KernelShape& shape, const model::Execution& execution) {
  struct Layer {
    std::string_view name;
    int64_t rows, in, out, calls;
  };
  const int64_t vocab = model::padded_vocab_size(execution.device, shape.vocab);
  const int64_t chunk_rows = model::logits_chunk_rows(execution.device, execution.dtype, shape.rows(), vocab);
  const std::vector<Layer> layers = {
      {"qkv", shape.rows(), shape.hidden, 3 * shape.hidden, shape.layers},
      {"attention output", shape.rows(), shape.hidden, shape.hidden, shape.layers},
      {"gate and up", shape.rows(), shape.hidden, 2 * shape.ff, shape.layers},
      {"down", shape.rows(), shape.ff, shape.hidden, shape.layers},
      {"logits", chunk_rows, shape.hidden, vocab, (shape.rows() + chunk_rows - 1) / chunk_rows}};
  std::vector<ProductCase> forward, input, weight;
  for (const Layer& layer : layers) {
    const auto name = [&](std::string_view part) {
      return fmt::format("{} {}/{}", layer.name, part, shape.name);
    };
    // Activations are (rows, in) and (rows, out), weights (out, in): see model/linear.cpp.
    forward.push_back({.shape = shape.name,
                       .name = name("GEMM"),
                       .m = layer.rows,
                       .n = layer.out,
                       .k = layer.in,
                       .b_transposed = true,
                       .calls = layer.calls});
    input.push_back({.shape = shape.name,
                     .name = name("input gradient"),
                     .m = layer.rows,
                     .n = layer.in,
                     .k = layer.out,
                     .calls = layer.calls});
    weight.push_back({.shape = shape.name,
                      .name = name("weight gradient"),
                      .m = layer.out,
                      .n = layer.in,
                      .k = layer.rows,
                      .a_transposed = true,
                      .accumulates = true,
                      .calls = layer.calls});
  }
  forward.insert(forward.end(), input.begin(), input.end());
  forward.insert(forward.end(), weight.begin(), weight.end());
  return forward;
}

ProductReport measure_products(
    const ProductOptions& options, const std::function<void(const ProductReport&)>& begun,
    const std::function<void(const ProductReport&, const ProductResult&)>& measured) {
  const std::vector<ProductCase> cases = matching_cases(options);
  const at::Device device = options.execution.device;
  ProductReport report{
      .execution = options.execution,
      .threads = at::get_num_threads(),
      .sides = product_side_names(device),
      .library = aten_library(device),
      .device = device.is_cpu() ? to_string(this_processor()) : device::to_string(device::current_gpu()),
      .results = {}};
  begun(report);
  std::vector<int> threads = {report.threads};
  if (device.is_cpu() && report.threads > 1) threads.insert(threads.begin(), 1);
  for (const ProductCase& product : cases) {
    for (const int count : threads) {
      report.results.push_back(measure(product, count, options));
      measured(report, report.results.back());
    }
    release_device_memory(device);
  }
  return report;
}

}  // namespace ssgpt::bench
