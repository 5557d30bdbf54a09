// How many fused multiply-adds a core of a processor starts in a cycle: from a table of models, or measured.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace ssgpt::bench {

// The units for fused multiply-adds of a core, each started once a cycle.
struct FmaUnits {
  int number = 0;
  int bits = 0;  // of the vectors that one takes at a time
};

// By vendor ("GenuineIntel"), family and model of CPUID; none where it is not known, or differs among
// products of one model. Source: the optimization manuals of Intel (248966) and AMD (56305, 56665, 57647,
// 58455).
std::optional<FmaUnits> fma_units(const std::string& vendor, int64_t family, int64_t model);

// Independent multiply-adds that a core starts in a cycle, by the width of their vectors.
struct FmaRates {
  double of_256_bits = 0.0;
  double of_512_bits = 0.0;  // 0: no AVX-512
};

// Measured on this thread in some ten milliseconds, in cycles as long as those of a chain of additions, each
// of which takes one; the best of many tries, since other work on the core takes its share. None on a
// processor without fused multiply-adds of 256 bits, or other than x86.
std::optional<FmaRates> measure_fma_rates();

// Two units of 256 bits that work as one, or take 512 bits in two halves, are two of 256 bits. None unless
// two of 256 bits start in a cycle, as on every core with AVX-512 that no other work disturbs, and unless
// those of 512 bits are clearly as fast, at a lower clock perhaps, or clearly half as fast.
std::optional<FmaUnits> fma_units(const FmaRates& rates);

}  // namespace ssgpt::bench
