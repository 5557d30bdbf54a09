// What Python's json reads and writes beyond the limits of the parser of .jsonl files.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace ssgpt::data {

// Two `half_pair` for as_strict_json(): a text that changes with them holds half of a surrogate pair, and one
// that does not holds the first for itself.
inline constexpr std::string_view kHalfPairMarks[] = {"\\ufdd0", "\\ufdd1"};

struct StrictJson {
  std::string text;
  bool has_half_pair = false;
};

// `line` with harmless values in the place of numbers that are too large for 64 bits or for a double, of NaN,
// Infinity and -Infinity, and `half_pair`, an escape, in the place of halves of surrogate pairs. All else,
// mistakes too, stays as it is. None where there is nothing of the kind.
std::optional<StrictJson> as_strict_json(std::string_view line, std::string_view half_pair);

}  // namespace ssgpt::data
