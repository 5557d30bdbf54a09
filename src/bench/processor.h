// What of a processor bounds a matrix product: its caches, its vectors, how many multiply-adds it starts in a
// cycle.
#pragma once

#include "bench/fma_units.h"

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace ssgpt::bench {

struct Cache {
  std::string name;  // "L1d", "L2", "L3"
  std::string size;  // "48 KiB", as the system has it
};

struct Processor {
  std::string name;
  int64_t family = 0, model = 0;  // by CPUID; 0: unknown
  std::vector<Cache> caches;      // of one core
  std::optional<FmaUnits> fma_units;
  bool fma_units_are_measured = false;  // since the model is not known
  std::vector<std::string> bf16;        // instruction sets that multiply bfloat16: "AMX-BF16"
  std::string our_loops;                // the instruction set that kernels/cpu was compiled for: "x86_64_v4"
  std::string aten_vectors;             // and ATen: "AVX512"
};

// Of the first core of this machine. Takes some ten milliseconds where the FMA units are measured.
Processor this_processor();

// One line.
std::string to_string(const Processor& processor);

}  // namespace ssgpt::bench
