// Number of fused multiply-adds that a core starts per cycle: from a table of processor models, or measured.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace ssgpt::bench {

// FMA units of a core, each of which starts one operation per cycle.
struct FmaUnits {
  int number = 0;
  int bits = 0;  // vector width of each
};

// Looks up CPUID's vendor ("GenuineIntel"), family and model; nullopt if it is unknown, or differs among
// products of one model. Source: the optimization manuals of Intel (248966) and AMD (56305, 56665, 57647,
// 58455).
std::optional<FmaUnits> fma_units(const std::string& vendor, int64_t family, int64_t model);

// Independent multiply-adds that a core starts per cycle, by vector width.
struct FmaRates {
  double of_256_bits = 0.0;
  double of_512_bits = 0.0;  // 0: no AVX-512
};

// Measures on this thread in about ten milliseconds, in units of the cycle time of a chain of dependent
// additions, each of which takes one cycle; takes the best of many tries, since other work on the core takes
// its share. nullopt on a processor that is not x86 or lacks 256-bit FMA.
std::optional<FmaRates> measure_fma_rates();

// Infers the units from the rates. Two 256-bit units that work as one, or execute 512 bits in two halves,
// count as two of 256 bits. nullopt unless two of 256 bits start per cycle, as on every undisturbed core with
// AVX-512, and those of 512 bits are clearly as fast (perhaps at a lower clock) or clearly half as fast.
std::optional<FmaUnits> fma_units(const FmaRates& rates);

}  // namespace ssgpt::bench
