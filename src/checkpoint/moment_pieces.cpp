#include "checkpoint/moment_pieces.h"

#include "core/check.h"

#include <algorithm>

namespace ssgpt::checkpoint {

// Parameters do not overlap, so the ranges hold nothing else between two pieces of one parameter: its pieces
// are one run of the moments.
HeldPieces held_pieces(const FlatState& flat, const model::Parameter& parameter) {
  const int64_t parameter_end = parameter.offset + parameter.numel;
  if (flat.moment_ranges.empty()) {
    return {.elements = {{.begin = 0, .end = parameter.numel}}, .position = parameter.offset};
  }
  HeldPieces held;
  int64_t position = 0;  // of the range in the moments
  int64_t last_end = 0;
  for (const core::Range& range : flat.moment_ranges) {
    SSGPT_CHECK(range.begin >= last_end && range.end >= range.begin,
                "the range {} to {} of the moments follows one that ends at {}", range.begin, range.end,
                last_end);
    const int64_t begin = std::max(range.begin, parameter.offset);
    const int64_t end = std::min(range.end, parameter_end);
    if (begin < end) {
      if (held.elements.empty()) {
        held.position = position + begin - range.begin;
      }
      const core::Range piece{.begin = begin - parameter.offset, .end = end - parameter.offset};
      if (!held.elements.empty() && held.elements.back().end == piece.begin) {
        held.elements.back().end = piece.end;
      } else {
        held.elements.push_back(piece);
      }
    }
    position += range.size();
    last_end = range.end;
  }
  return held;
}

}  // namespace ssgpt::checkpoint
