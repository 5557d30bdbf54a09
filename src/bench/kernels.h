// Times each operation of kernels/ops.h beside its plain counterpart, with Google Benchmark.
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
  double min_seconds = 0.2;  // that each side is repeated for, at least
};

struct KernelResult {
  std::string name;  // "swiglu_forward/quickstart"
  core::Work work;   // of one call
  double fused_seconds = 0.0;
  double plain_seconds = 0.0;
  std::string fused_error = {};  // why there are no seconds
  std::string plain_error = {};
};

struct KernelReport {
  model::Execution execution;
  int threads = 1;
  Ceilings ceilings;
  std::vector<KernelResult> results;  // in the order of kernel_cases()
};

// Of the operations that there are for this device and dtype. A GPU is waited for behind a batch of calls, so
// that launching them is seen only where it takes longer than what they do. A side that throws has its error
// in place of its time, and the rest goes on. `begun` is called with the report without results before the
// first operation, `measured` with each result when it is there; both may be empty. Throws core::UsageError
// for a filter that is no expression or matches nothing.
KernelReport measure_kernels(
    const KernelOptions& options, const std::function<void(const KernelReport&)>& begun = {},
    const std::function<void(const KernelReport&, const KernelResult&)>& measured = {});

// One operation on both sides. What `prepare` throws is the error of both.
KernelResult measure_kernel(const std::string& name, const std::function<KernelRun()>& prepare,
                            const KernelOptions& options);

// The table, whose rows can be printed as they come; to_table() is all of it.
std::string heading(const KernelReport& report);
std::string to_row(const KernelReport& report, const KernelResult& result);
std::string to_table(const KernelReport& report);
std::string to_json(const KernelReport& report);  // with a line break behind it

}  // namespace ssgpt::bench
