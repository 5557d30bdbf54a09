// Rounds sizes up to a multiple.
#pragma once

#include <cstdint>

namespace ssgpt::core {

// Smallest multiple of `multiple` that is at least `value`. `multiple` is positive, `value` is 0 or more.
constexpr int64_t round_up(int64_t value, int64_t multiple) {
  return (value + multiple - 1) / multiple * multiple;
}

}  // namespace ssgpt::core
