// Elements [begin, end) of a flat tensor.
#pragma once

#include <cstdint>
#include <span>

namespace ssgpt::core {

struct Range {
  int64_t begin = 0;
  int64_t end = 0;
  int64_t size() const { return end - begin; }
  bool operator==(const Range&) const = default;
};

inline int64_t total_size(std::span<const Range> ranges) {
  int64_t size = 0;
  for (const Range& range : ranges) size += range.size();
  return size;
}

}  // namespace ssgpt::core
