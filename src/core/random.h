// Counter-based random numbers: every value is a pure function of (key, index), so any part of a stream can
// be generated anywhere, in any order, by any number of threads.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

namespace ssgpt::core {

// Philox-4x32 with 10 rounds (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011).
std::array<uint32_t, 4> philox4x32(std::array<uint32_t, 4> counter, std::array<uint32_t, 2> key);

// Derives a 64-bit key from a seed and a name: streams with different names are independent.
uint64_t stream_key(uint64_t seed, std::string_view name);

// The index-th 64 random bits of the stream.
uint64_t random_bits(uint64_t key, uint64_t index);

// Uniform in [0, 1), 53 bits.
double random_uniform(uint64_t key, uint64_t index);

// Standard normal: Box-Muller in float64 on two uniforms of the stream's index-th block.
double random_normal(uint64_t key, uint64_t index);

}  // namespace ssgpt::core
