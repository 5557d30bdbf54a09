// Times each operation of kernels/ops.h beside its plain counterpart, with Google Benchmark.
#pragma once

#include "bench/ceilings.h"
#include "core/profile.h"
#include "model/gpt.h"

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
};

struct KernelReport {
  model::Execution execution;
  int threads = 1;
  Ceilings ceilings;
  std::vector<KernelResult> results;  // in the order of kernel_cases()
};

// Of the operations that there are for this device and dtype. A GPU is waited for behind a batch of calls, so
// that launching them is seen only where it takes longer than what they do. Throws core::UsageError for a
// filter that is no expression or matches nothing.
KernelReport measure_kernels(const KernelOptions& options);

std::string to_table(const KernelReport& report);
std::string to_json(const KernelReport& report);  // with a line break behind it

}  // namespace ssgpt::bench
