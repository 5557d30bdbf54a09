// The order in which training reads its windows, a pure function of (seed, global sample index).
#pragma once

#include <cstdint>

namespace ssgpt::data {

// Sample i reads window permutation_e(i mod n) of epoch e = i div n: every window once per epoch, a different
// order in each epoch, any position in O(1), no state. The permutation is a keyed Feistel network on the next
// even power of two, iterated until the value is below n (cycle walking).
class WindowSampler {
 public:
  WindowSampler(uint64_t seed, int64_t num_windows);

  int64_t window(int64_t sample) const;  // in [0, num_windows)
  int64_t num_windows() const { return num_windows_; }

 private:
  uint64_t seed_;
  int64_t num_windows_;
  int half_bits_;
};

// The i-th window of a sample of `num_windows` (at most `available`) of the `available` windows: they are
// spread evenly, so that a small sample represents the whole text; if the sample includes every window,
// window i is i.
int64_t sampled_window(int64_t i, int64_t num_windows, int64_t available);

}  // namespace ssgpt::data
