#include "core/random.h"

#include <cmath>
#include <numbers>

namespace ssgpt::core {

namespace {

constexpr uint32_t low(uint64_t value) {
  return static_cast<uint32_t>(value);
}
constexpr uint32_t high(uint64_t value) {
  return static_cast<uint32_t>(value >> 32);
}
constexpr uint64_t join(uint32_t low_word, uint32_t high_word) {
  return (uint64_t{high_word} << 32) | low_word;
}
constexpr double unit_interval(uint64_t bits) {
  return static_cast<double>(bits >> 11) * 0x1.0p-53;
}

std::array<uint32_t, 4> block(uint64_t key, uint64_t index) {
  return philox4x32({low(index), high(index), 0, 0}, {low(key), high(key)});
}

}  // namespace

std::array<uint32_t, 4> philox4x32(std::array<uint32_t, 4> counter, std::array<uint32_t, 2> key) {
  constexpr int kRounds = 10;
  for (int round = 0; round < kRounds; ++round) {
    const uint64_t product0 = uint64_t{0xD2511F53} * counter[0];
    const uint64_t product1 = uint64_t{0xCD9E8D57} * counter[2];
    counter = {high(product1) ^ counter[1] ^ key[0], low(product1), high(product0) ^ counter[3] ^ key[1],
               low(product0)};
    key[0] += 0x9E3779B9;
    key[1] += 0xBB67AE85;
  }
  return counter;
}

uint64_t stream_key(uint64_t seed, std::string_view name) {
  uint64_t hash = 0xCBF29CE484222325;  // FNV-1a
  for (const char character : name) {
    hash = (hash ^ static_cast<unsigned char>(character)) * 0x100000001B3;
  }
  // The last counter word is 0 in every stream; 1 here ensures that a key is never the output of a stream
  // whose key is the seed.
  const auto words = philox4x32({low(hash), high(hash), 0, 1}, {low(seed), high(seed)});
  return join(words[0], words[1]);
}

uint64_t random_bits(uint64_t key, uint64_t index) {
  const auto words = block(key, index);
  return join(words[0], words[1]);
}

double random_uniform(uint64_t key, uint64_t index) {
  return unit_interval(random_bits(key, index));
}

double random_normal(uint64_t key, uint64_t index) {
  const auto words = block(key, index);
  const double radius_uniform =
      1.0 - unit_interval(join(words[0], words[1]));  // (0, 1]: its logarithm is finite
  const double angle_uniform = unit_interval(join(words[2], words[3]));
  return std::sqrt(-2.0 * std::log(radius_uniform)) * std::cos(2.0 * std::numbers::pi * angle_uniform);
}

}  // namespace ssgpt::core
