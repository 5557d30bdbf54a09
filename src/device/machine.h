// The machine that this process runs on, as a run's record describes it.
#pragma once

#include "device/gpu.h"

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace ssgpt::device {

struct Machine {
  std::string host;
  std::string system;          // "Linux 6.1.0 x86_64"
  std::string cpu;             // "AMD EPYC 9654"
  std::string cpu_capability;  // the instruction set that ATen uses: "AVX512"
  int64_t threads = 0;         // of ATen's operations
  uint64_t memory_bytes = 0;
  std::optional<GpuDescription> gpu;
};

// gpu: that this process computes on, if any.
Machine this_machine(std::optional<GpuDescription> gpu);

// The instruction sets of this processor that multiply numbers in bfloat16: "AMX-BF16", "AVX512-BF16". Empty
// where it has none; none at all where that is not known: on processors other than x86.
std::optional<std::vector<std::string>> bf16_instructions();

}  // namespace ssgpt::device
