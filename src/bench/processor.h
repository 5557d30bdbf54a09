// What of a processor bounds a matrix product: its caches, its vectors, how many multiply-adds it starts in a
// cycle.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace ssgpt::bench {

struct Cache {
  std::string name;  // "L1d", "L2", "L3"
  std::string size;  // "48 KiB", as the system has it
};

// The units for fused multiply-adds of a core, each started once a cycle.
struct FmaUnits {
  int number = 0;
  int bits = 0;  // of the vectors that one takes at a time
};

struct Processor {
  std::string name;
  int64_t family = 0, model = 0;  // by CPUID; 0: unknown
  std::vector<Cache> caches;      // of one core
  std::optional<FmaUnits> fma_units;
  std::string our_loops;     // the instruction set that kernels/cpu was compiled for: "x86_64_v4"
  std::string aten_vectors;  // and ATen: "AVX512"
};

// Of the first core of this machine.
Processor this_processor();

// By vendor ("GenuineIntel"), family and model of CPUID; none where it is not known, or differs among
// products of one model. Source: the optimization manuals of Intel (248966) and AMD (56305, 56665, 57647,
// 58455).
std::optional<FmaUnits> fma_units(const std::string& vendor, int64_t family, int64_t model);

// One line.
std::string to_string(const Processor& processor);

}  // namespace ssgpt::bench
