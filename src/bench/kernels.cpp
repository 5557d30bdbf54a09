#include "bench/kernels.h"

#include "bench/rows.h"
#include "core/error.h"
#include "core/json.h"
#include "model/device_timing.h"

#include <functional>
#include <map>
#include <memory>
#include <regex>
#include <string_view>
#include <utility>

#include <ATen/Parallel.h>
#include <benchmark/benchmark.h>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace ssgpt::bench {
namespace {

// Result of one benchmark.
struct Outcome {
  double seconds = 0.0;  // per round
  std::string error;
};

// Keeps the outcome of each benchmark; prints nothing.
class Collector : public ::benchmark::BenchmarkReporter {
 public:
  bool ReportContext(const Context&) override { return true; }
  void ReportRuns(const std::vector<Run>& runs) override {
    for (const Run& run : runs) {
      Outcome& outcome = outcomes_[run.run_name.function_name];
      if (run.error_occurred) {
        outcome.error = error_cell(run.error_message);
      } else {
        outcome.seconds = run.real_accumulated_time / static_cast<double>(run.iterations);
      }
    }
  }
  const Outcome& outcome(const std::string& name) const { return outcomes_.at(name); }

 private:
  std::map<std::string, Outcome> outcomes_;
};

// Calls between two readings of the clock.
int batch_of(at::Device device) {
  return device.is_cpu() ? 1 : 20;
}

void time_side(const std::function<at::Tensor()>& side, at::Device device, ::benchmark::State& state) {
  side();  // warm-up: threads, buffers
  const std::unique_ptr<model::DeviceMarks> marks = model::make_marks(device);
  for ([[maybe_unused]] const auto iteration : state) {
    marks->set();
    for (int call = 0; call < batch_of(device); ++call) side();
    const size_t last = marks->set();
    marks->wait();
    state.SetIterationTime(marks->seconds(0, last));
    marks->clear();
  }
}

void register_side(const std::string& name, const std::function<at::Tensor()>& side,
                   const KernelOptions& options) {
  const at::Device device = options.execution.device;
  const auto run = [side, device](::benchmark::State& state) {
    try {
      time_side(side, device, state);
    } catch (const std::exception& error) {
      state.SkipWithError(error.what());
    }
  };
  ::benchmark::RegisterBenchmark(name.c_str(), run)->MinTime(options.min_seconds)->UseManualTime();
}

std::regex filter_of(const std::string& text) {
  try {
    return std::regex(text);
  } catch (const std::regex_error&) {
    throw core::UsageError("--filter {}: not a regular expression (ECMAScript).", text);
  }
}

// In GFLOP/s (on a GPU TFLOP/s) if the operation does arithmetic, otherwise in GB/s.
std::string rate(const core::Work& work, double seconds, bool gpu) {
  if (work.flops <= 0.0) return fmt::format("{:.1f} GB/s", work.bytes / seconds * 1e-9);
  return gpu ? fmt::format("{:.1f} TFLOP/s", work.flops / seconds * 1e-12)
             : fmt::format("{:.1f} GFLOP/s", work.flops / seconds * 1e-9);
}

std::string_view dtype_of(const KernelReport& report) {
  return report.execution.dtype == at::kBFloat16 ? "bfloat16" : "float32";
}

bool on_gpu(const KernelReport& report) {
  return !report.execution.device.is_cpu();
}

RowFormat row_format(const KernelReport& report) {
  const std::string unit = on_gpu(report) ? "\u00b5s" : "ms";
  return RowFormat({{.title = "operation", .width = 41, .left = true},
                    {.title = fmt::format("fused {}", unit), .width = 9},
                    {.title = "", .width = 14},
                    {.title = "of ceiling", .width = 13},
                    {.title = fmt::format("plain {}", unit), .width = 9},
                    {.title = "", .width = 14},
                    {.title = "plain / fused"}});
}

}  // namespace

// One case at a time, so that only its tensors are in memory.
KernelResult measure_kernel(const std::string& name, const std::function<KernelRun()>& prepare,
                            const KernelOptions& options) {
  KernelResult result;
  result.name = name;
  const std::string fused = name + "/fused";
  const std::string plain = name + "/plain";
  ::benchmark::ClearRegisteredBenchmarks();
  try {
    const KernelRun run = prepare();
    result.work = run.work;
    register_side(fused, run.fused, options);
    register_side(plain, run.plain, options);
  } catch (const std::exception& error) {
    result.fused_error = result.plain_error = error_cell(error.what());
    return result;
  }
  Collector collector;
  ::benchmark::RunSpecifiedBenchmarks(&collector, std::string("."));
  ::benchmark::ClearRegisteredBenchmarks();
  const int batch = batch_of(options.execution.device);
  result.fused_seconds = collector.outcome(fused).seconds / batch;
  result.plain_seconds = collector.outcome(plain).seconds / batch;
  result.fused_error = collector.outcome(fused).error;
  result.plain_error = collector.outcome(plain).error;
  return result;
}

KernelReport measure_kernels(const KernelOptions& options,
                             const std::function<void(const KernelReport&)>& begun,
                             const std::function<void(const KernelReport&, const KernelResult&)>& measured) {
  const std::regex filter = filter_of(options.filter);
  struct Named {
    std::string name;
    const KernelShape& shape;
    const KernelCase& one;
  };
  std::vector<Named> cases;
  const std::vector<KernelShape>& shapes = kernel_shapes(options.execution.device);
  for (const KernelShape& shape : shapes) {
    for (const KernelCase& one : kernel_cases()) {
      std::string name = one.name + "/" + shape.name;
      if (std::regex_search(name, filter) && can_run(one, options.execution)) {
        cases.push_back({.name = std::move(name), .shape = shape, .one = one});
      }
    }
  }
  if (cases.empty()) {
    throw core::UsageError("--filter {}: matches no operation; names are like {}/{}.", options.filter,
                           kernel_cases().front().name, shapes.front().name);
  }
  KernelReport report;
  report.execution = options.execution;
  report.threads = at::get_num_threads();
  report.ceilings = measure_ceilings(options.execution);
  if (begun) begun(report);
  for (const Named& named : cases) {
    const auto prepare = [&] {
      return named.one.prepare(named.shape, options.execution);
    };
    report.results.push_back(measure_kernel(named.name, prepare, options));
    if (measured) measured(report, report.results.back());
  }
  return report;
}

std::string heading(const KernelReport& report) {
  const bool gpu = on_gpu(report);
  const double flops = report.ceilings.product_flops;
  return fmt::format(
             "{}, {}; ceilings: GEMM {}, copy {:.1f} GB/s (read and written)\n", dtype_of(report),
             gpu ? "GPU" : fmt::format("{} threads", report.threads),
             gpu ? fmt::format("{:.1f} TFLOP/s", flops * 1e-12) : fmt::format("{:.1f} GFLOP/s", flops * 1e-9),
             report.ceilings.copy_bytes * 1e-9) +
         row_format(report).heading();
}

std::string to_row(const KernelReport& report, const KernelResult& result) {
  const bool gpu = on_gpu(report);
  std::vector<std::string> cells = {result.name};
  std::string errors;
  // Adds the time and rate of a side.
  const auto add = [&](const char* side, double seconds, const std::string& error) {
    if (error.empty()) {
      cells.push_back(gpu ? fmt::format("{:.1f}", 1e6 * seconds) : fmt::format("{:.3f}", 1e3 * seconds));
      cells.push_back(rate(result.work, seconds, gpu));
    } else {
      cells.insert(cells.end(), {"failed", ""});
      errors += fmt::format("    {}: {}\n", side, error);
    }
  };
  add("fused", result.fused_seconds, result.fused_error);
  cells.push_back(share_of_ceiling(result.work, result.fused_seconds, report.ceilings));
  add("plain", result.plain_seconds, result.plain_error);
  if (errors.empty()) cells.push_back(fmt::format("{:.2f}", result.plain_seconds / result.fused_seconds));
  return row_format(report).row(cells) + errors;
}

std::string to_table(const KernelReport& report) {
  std::string text = heading(report);
  for (const KernelResult& result : report.results) text += to_row(report, result);
  return text;
}

std::string to_json(const KernelReport& report) {
  nlohmann::ordered_json json = {{"device", report.execution.device.is_cpu() ? "cpu" : "cuda"},
                                 {"dtype", dtype_of(report)},
                                 {"threads", report.threads}};
  json["ceilings"] = {{"product_flops_per_second", report.ceilings.product_flops},
                      {"copy_bytes_per_second", report.ceilings.copy_bytes}};
  json["operations"] = nlohmann::ordered_json::array();
  for (const KernelResult& result : report.results) {
    nlohmann::ordered_json entry = {
        {"name", result.name}, {"flops", result.work.flops}, {"bytes", result.work.bytes}};
    const auto add = [&entry](const std::string& side, double seconds, const std::string& error) {
      if (error.empty()) {
        entry[side + "_seconds"] = seconds;
      } else {
        entry[side + "_error"] = error;
      }
    };
    add("fused", result.fused_seconds, result.fused_error);
    add("plain", result.plain_seconds, result.plain_error);
    json["operations"].push_back(std::move(entry));
  }
  return core::json_text(json) + "\n";
}

}  // namespace ssgpt::bench
