// Properties of a processor that bound a GEMM: its caches, vector width and FMA units.
#pragma once

#include "bench/fma_units.h"

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace ssgpt::bench {

struct Cache {
  std::string name;  // "L1d", "L2", "L3"
  std::string size;  // "48 KiB", as the system reports it
};

struct Processor {
  std::string name;
  int64_t family = 0, model = 0;  // from CPUID; 0: unknown
  std::vector<Cache> caches;      // of one core
  std::optional<FmaUnits> fma_units;
  bool fma_units_are_measured = false;  // because the model is unknown
  std::vector<std::string> bf16;        // instruction sets that multiply bfloat16: "AMX-BF16"
  std::string our_loops;                // instruction set of kernels/cpu in use: "x86_64_v4"
  std::string aten_vectors;             // and that of ATen: "AVX512"
};

// Describes the first core of this machine. Takes about ten milliseconds if the FMA units are measured.
Processor this_processor();

// Formats a processor as one line.
std::string to_string(const Processor& processor);

}  // namespace ssgpt::bench
