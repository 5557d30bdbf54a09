#include "bench/kernels.h"

#include "bench/kernel_cases.h"
#include "core/check.h"
#include "core/error.h"
#include "report/text_table.h"

#include <functional>
#include <map>
#include <regex>

#include <ATen/Parallel.h>
#include <benchmark/benchmark.h>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace ssgpt::bench {
namespace {

// Keeps the seconds of each benchmark; prints nothing.
class Collector : public ::benchmark::BenchmarkReporter {
 public:
  bool ReportContext(const Context&) override { return true; }
  void ReportRuns(const std::vector<Run>& runs) override {
    for (const Run& run : runs) {
      SSGPT_CHECK(!run.error_occurred, "{}: {}", run.benchmark_name(), run.error_message);
      seconds_[run.run_name.function_name] = run.real_accumulated_time / static_cast<double>(run.iterations);
    }
  }
  double seconds(const std::string& name) const { return seconds_.at(name); }

 private:
  std::map<std::string, double> seconds_;
};

void register_side(const std::string& name, const std::function<at::Tensor()>& side, double min_seconds) {
  ::benchmark::RegisterBenchmark(name.c_str(),
                                 [side](::benchmark::State& state) {
                                   side();  // threads, buffers
                                   for ([[maybe_unused]] const auto iteration : state) side();
                                 })
      ->MinTime(min_seconds)
      ->UseRealTime();
}

// One case at a time, so that only its tensors are in memory.
KernelResult measure(const std::string& name, const KernelRun& run, double min_seconds) {
  ::benchmark::ClearRegisteredBenchmarks();
  const std::string fused = name + "/fused";
  const std::string plain = name + "/plain";
  register_side(fused, run.fused, min_seconds);
  register_side(plain, run.plain, min_seconds);
  Collector collector;
  ::benchmark::RunSpecifiedBenchmarks(&collector, std::string("."));
  ::benchmark::ClearRegisteredBenchmarks();
  return {.name = name,
          .work = run.work,
          .fused_seconds = collector.seconds(fused),
          .plain_seconds = collector.seconds(plain)};
}

std::regex filter_of(const std::string& text) {
  try {
    return std::regex(text);
  } catch (const std::regex_error&) {
    throw core::UsageError("--filter {}: not a regular expression (ECMAScript).", text);
  }
}

// GFLOP/s where the operation is arithmetic, else GB/s.
std::string rate(const core::Work& work, double seconds) {
  return work.flops > 0.0 ? fmt::format("{:.1f} GFLOP/s", work.flops / seconds * 1e-9)
                          : fmt::format("{:.1f} GB/s", work.bytes / seconds * 1e-9);
}

}  // namespace

std::vector<KernelResult> measure_kernels(const KernelOptions& options) {
  const std::regex filter = filter_of(options.filter);
  std::vector<KernelResult> results;
  for (const KernelShape& shape : kernel_shapes()) {
    for (const KernelCase& one : kernel_cases()) {
      const std::string name = one.name + "/" + shape.name;
      if (std::regex_search(name, filter)) {
        results.push_back(measure(name, one.prepare(shape), options.min_seconds));
      }
    }
  }
  if (results.empty()) {
    throw core::UsageError("--filter {}: matches no operation; names are like {}/{}.", options.filter,
                           kernel_cases().front().name, kernel_shapes().front().name);
  }
  return results;
}

std::string to_table(const std::vector<KernelResult>& results) {
  using Align = report::TextTable::Align;
  report::TextTable table(
      {Align::kLeft, Align::kRight, Align::kRight, Align::kRight, Align::kRight, Align::kRight});
  table.add({"operation", "fused ms", "", "plain ms", "", "plain / fused"});
  table.add_rule();
  for (const KernelResult& result : results) {
    table.add({result.name, fmt::format("{:.3f}", 1e3 * result.fused_seconds),
               rate(result.work, result.fused_seconds), fmt::format("{:.3f}", 1e3 * result.plain_seconds),
               rate(result.work, result.plain_seconds),
               fmt::format("{:.2f}", result.plain_seconds / result.fused_seconds)});
  }
  return fmt::format("fp32, {} threads\n", at::get_num_threads()) + table.text(/*indent=*/2);
}

std::string to_json(const std::vector<KernelResult>& results) {
  nlohmann::ordered_json json = {{"threads", at::get_num_threads()}};
  json["operations"] = nlohmann::ordered_json::array();
  for (const KernelResult& result : results) {
    json["operations"].push_back({{"name", result.name},
                                  {"flops", result.work.flops},
                                  {"bytes", result.work.bytes},
                                  {"fused_seconds", result.fused_seconds},
                                  {"plain_seconds", result.plain_seconds}});
  }
  return json.dump() + "\n";
}

}  // namespace ssgpt::bench
