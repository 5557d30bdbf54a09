#include "bench/kernels.h"

#include "bench/kernel_cases.h"
#include "core/check.h"
#include "core/error.h"
#include "core/json.h"
#include "model/device_timing.h"
#include "report/text_table.h"

#include <functional>
#include <map>
#include <memory>
#include <regex>
#include <string_view>

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

// Calls between two looks at the clock.
int batch_of(at::Device device) {
  return device.is_cpu() ? 1 : 20;
}

void register_side(const std::string& name, const std::function<at::Tensor()>& side,
                   const KernelOptions& options) {
  const at::Device device = options.execution.device;
  const auto run = [side, device](::benchmark::State& state) {
    side();  // threads, buffers
    const std::unique_ptr<model::DeviceMarks> marks = model::make_marks(device);
    for ([[maybe_unused]] const auto iteration : state) {
      marks->set();
      for (int call = 0; call < batch_of(device); ++call) side();
      const size_t last = marks->set();
      marks->wait();
      state.SetIterationTime(marks->seconds(0, last));
      marks->clear();
    }
  };
  ::benchmark::RegisterBenchmark(name.c_str(), run)->MinTime(options.min_seconds)->UseManualTime();
}

// One case at a time, so that only its tensors are in memory.
KernelResult measure(const std::string& name, const KernelRun& run, const KernelOptions& options) {
  ::benchmark::ClearRegisteredBenchmarks();
  const std::string fused = name + "/fused";
  const std::string plain = name + "/plain";
  register_side(fused, run.fused, options);
  register_side(plain, run.plain, options);
  Collector collector;
  ::benchmark::RunSpecifiedBenchmarks(&collector, std::string("."));
  ::benchmark::ClearRegisteredBenchmarks();
  const int batch = batch_of(options.execution.device);
  return {.name = name,
          .work = run.work,
          .fused_seconds = collector.seconds(fused) / batch,
          .plain_seconds = collector.seconds(plain) / batch};
}

std::regex filter_of(const std::string& text) {
  try {
    return std::regex(text);
  } catch (const std::regex_error&) {
    throw core::UsageError("--filter {}: not a regular expression (ECMAScript).", text);
  }
}

// GFLOP/s, of a GPU TFLOP/s, where the operation is arithmetic, else GB/s.
std::string rate(const core::Work& work, double seconds, bool gpu) {
  if (work.flops <= 0.0) return fmt::format("{:.1f} GB/s", work.bytes / seconds * 1e-9);
  return gpu ? fmt::format("{:.1f} TFLOP/s", work.flops / seconds * 1e-12)
             : fmt::format("{:.1f} GFLOP/s", work.flops / seconds * 1e-9);
}

std::string_view dtype_of(const KernelReport& report) {
  return report.execution.dtype == at::kBFloat16 ? "bfloat16" : "float32";
}

}  // namespace

KernelReport measure_kernels(const KernelOptions& options) {
  const std::regex filter = filter_of(options.filter);
  KernelReport report;
  report.execution = options.execution;
  report.threads = at::get_num_threads();
  const std::vector<KernelShape>& shapes = kernel_shapes(options.execution.device);
  for (const KernelShape& shape : shapes) {
    for (const KernelCase& one : kernel_cases()) {
      const std::string name = one.name + "/" + shape.name;
      if (std::regex_search(name, filter) && can_run(one, options.execution)) {
        report.results.push_back(measure(name, one.prepare(shape, options.execution), options));
      }
    }
  }
  if (report.results.empty()) {
    throw core::UsageError("--filter {}: matches no operation; names are like {}/{}.", options.filter,
                           kernel_cases().front().name, shapes.front().name);
  }
  report.ceilings = measure_ceilings(options.execution);
  return report;
}

std::string to_table(const KernelReport& report) {
  using Align = report::TextTable::Align;
  const bool gpu = !report.execution.device.is_cpu();
  report::TextTable table({Align::kLeft, Align::kRight, Align::kRight, Align::kRight, Align::kRight,
                           Align::kRight, Align::kRight});
  const std::string unit = gpu ? "\u00b5s" : "ms";
  const auto time = [gpu](double seconds) {
    return gpu ? fmt::format("{:.1f}", 1e6 * seconds) : fmt::format("{:.3f}", 1e3 * seconds);
  };
  table.add({"operation", fmt::format("fused {}", unit), "", "of ceiling", fmt::format("plain {}", unit), "",
             "plain / fused"});
  table.add_rule();
  for (const KernelResult& result : report.results) {
    table.add({result.name, time(result.fused_seconds), rate(result.work, result.fused_seconds, gpu),
               share_of_ceiling(result.work, result.fused_seconds, report.ceilings),
               time(result.plain_seconds), rate(result.work, result.plain_seconds, gpu),
               fmt::format("{:.2f}", result.plain_seconds / result.fused_seconds)});
  }
  const double flops = report.ceilings.product_flops;
  return fmt::format(
             "{}, {}; ceilings: product {}, copy {:.1f} GB/s (read and written)\n", dtype_of(report),
             gpu ? "GPU" : fmt::format("{} threads", report.threads),
             gpu ? fmt::format("{:.1f} TFLOP/s", flops * 1e-12) : fmt::format("{:.1f} GFLOP/s", flops * 1e-9),
             report.ceilings.copy_bytes * 1e-9) +
         table.text(/*indent=*/2);
}

std::string to_json(const KernelReport& report) {
  nlohmann::ordered_json json = {{"device", report.execution.device.is_cpu() ? "cpu" : "cuda"},
                                 {"dtype", dtype_of(report)},
                                 {"threads", report.threads}};
  json["ceilings"] = {{"product_flops_per_second", report.ceilings.product_flops},
                      {"copy_bytes_per_second", report.ceilings.copy_bytes}};
  json["operations"] = nlohmann::ordered_json::array();
  for (const KernelResult& result : report.results) {
    json["operations"].push_back({{"name", result.name},
                                  {"flops", result.work.flops},
                                  {"bytes", result.work.bytes},
                                  {"fused_seconds", result.fused_seconds},
                                  {"plain_seconds", result.plain_seconds}});
  }
  return core::json_text(json) + "\n";
}

}  // namespace ssgpt::bench
