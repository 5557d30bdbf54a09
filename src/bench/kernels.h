// Benchmarks each operation of kernels/ops.h against its plain counterpart, with Google Benchmark.
#pragma once

#include "bench/ceilings.h"
#include "bench/kernel_cases.h"
#include "core/profile.h"
#include "model/gpt.h"

#include <functional>
#include <string>
#include <vector>

namespace ssgpt::bench {

struct KernelOptions {
  model::Execution execution = {};
  std::string filter = ".";  // regular expression on "swiglu_forward/quickstart"
  double min_seconds = 0.2;  // minimum duration per side
};

struct KernelResult {
  std::string name;  // "swiglu_forward/quickstart"
  core::Work work;   // per call
  double fused_seconds = 0.0;
  double plain_seconds = 0.0;
  std::string fused_error = {};  // why there is no time
  std::string plain_error = {};
};

struct KernelReport {
  model::Execution execution;
  int threads = 1;
  Ceilings ceilings;
  std::vector<KernelResult> results;  // in the order of kernel_cases()
};

// Measures the operations available for this device and dtype. A GPU is waited for only after a batch of
// calls, so that launch overhead shows only where it exceeds the GPU's time. A side that throws gets its
// error in place of a time, and the rest continues. `begun` is called with the report, still without results,
// before the first operation, and `measured` with each new result; both may be empty. Throws core::UsageError
// if the filter is not a regular expression or matches nothing.
KernelReport measure_kernels(
    const KernelOptions& options, const std::function<void(const KernelReport&)>& begun = {},
    const std::function<void(const KernelReport&, const KernelResult&)>& measured = {});

// Measures both sides of one operation. An exception from `prepare` becomes the error of both.
KernelResult measure_kernel(const std::string& name, const std::function<KernelRun()>& prepare,
                            const KernelOptions& options);

// The table, whose rows can be printed as results arrive; to_table() is the whole table.
std::string heading(const KernelReport& report);
std::string to_row(const KernelReport& report, const KernelResult& result);
std::string to_table(const KernelReport& report);
std::string to_json(const KernelReport& report);  // with a trailing line break

}  // namespace ssgpt::bench
