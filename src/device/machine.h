// Describes the machine that this process runs on, for a run's record.
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
  std::string cpu_capability;  // instruction set used by ATen: "AVX512"
  int64_t threads = 0;         // used by ATen's operations
  uint64_t memory_bytes = 0;
  std::optional<GpuDescription> gpu;
};

// gpu: the one that this process computes on, if any.
Machine this_machine(std::optional<GpuDescription> gpu);

// Instruction sets of this processor for bfloat16 multiplication: "AMX-BF16", "AVX512-BF16". Empty where it
// has none; nullopt where unknown, on processors other than x86.
std::optional<std::vector<std::string>> bf16_instructions();

}  // namespace ssgpt::device
