// Sizes that are multiples of another.
#pragma once

#include <cstdint>

namespace ssgpt::core {

// The least multiple of `multiple` that is not below `value`. Both are positive, or `value` is 0.
constexpr int64_t round_up(int64_t value, int64_t multiple) {
  return (value + multiple - 1) / multiple * multiple;
}

}  // namespace ssgpt::core
