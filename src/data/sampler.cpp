#include "data/sampler.h"

#include "core/check.h"
#include "core/random.h"

#include <bit>
#include <utility>

namespace ssgpt::data {

namespace {

constexpr int kRounds = 8;

}  // namespace

WindowSampler::WindowSampler(uint64_t seed, int64_t num_windows)
    : seed_(core::stream_key(seed, "data order")), num_windows_(num_windows) {
  SSGPT_CHECK(num_windows > 0, "a sampler of {} windows", num_windows);
  const auto bits = static_cast<int>(std::bit_width(static_cast<uint64_t>(num_windows - 1)));
  half_bits_ = (bits + 1) / 2;
}

int64_t WindowSampler::window(int64_t sample) const {
  SSGPT_CHECK(sample >= 0, "sample {}", sample);
  const auto epoch = static_cast<uint64_t>(sample / num_windows_);
  auto value = static_cast<uint64_t>(sample % num_windows_);
  if (num_windows_ == 1) {
    return 0;
  }
  const uint64_t key = core::random_bits(seed_, epoch);
  const uint64_t mask = (uint64_t{1} << half_bits_) - 1;
  // The network permutes [0, 4^half_bits), of which more than a quarter is below num_windows: following its
  // cycle from a value below num_windows returns below it in fewer than four steps on average.
  do {
    uint64_t left = value >> half_bits_;
    uint64_t right = value & mask;
    for (uint64_t round = 0; round < kRounds; ++round) {
      const uint64_t mixed = core::random_bits(key, round << 32 | right);
      left ^= mixed & mask;
      std::swap(left, right);
    }
    value = left << half_bits_ | right;
  } while (value >= static_cast<uint64_t>(num_windows_));
  return static_cast<int64_t>(value);
}

int64_t sampled_window(int64_t i, int64_t num_windows, int64_t available) {
  return i * (available / num_windows) + i * (available % num_windows) / num_windows;
}

}  // namespace ssgpt::data
