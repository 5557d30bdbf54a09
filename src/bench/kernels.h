// Times each operation of kernels/ops.h beside its plain counterpart, with Google Benchmark.
#pragma once

#include "core/profile.h"

#include <string>
#include <vector>

namespace ssgpt::bench {

struct KernelOptions {
  std::string filter = ".";  // regular expression on "swiglu_forward/quickstart"
  double min_seconds = 0.2;  // that each side is repeated for, at least
};

struct KernelResult {
  std::string name;  // "swiglu_forward/quickstart"
  core::Work work;   // of one call
  double fused_seconds = 0.0;
  double plain_seconds = 0.0;
};

// In the order of kernel_cases(). Throws core::UsageError for a filter that is no expression or matches
// nothing.
std::vector<KernelResult> measure_kernels(const KernelOptions& options);

std::string to_table(const std::vector<KernelResult>& results);
std::string to_json(const std::vector<KernelResult>& results);  // with a line break behind it

}  // namespace ssgpt::bench
