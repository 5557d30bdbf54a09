// What Python's json reads and writes beyond the limits of the parser of .jsonl files.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace ssgpt::data {

// U+FDD0, which stands for no character, in UTF-8.
inline constexpr std::string_view kHalfPairMark = "\xEF\xB7\x90";

struct StrictJson {
  std::string text;
  bool has_half_pair = false;  // kHalfPairMark stands for one, as an escape
};

// `line` with harmless values in the place of numbers that are too large for 64 bits or for a double, of NaN,
// Infinity and -Infinity, and of halves of surrogate pairs. All else, mistakes too, stays as it is. None
// where there is nothing of the kind.
std::optional<StrictJson> as_strict_json(std::string_view line);

}  // namespace ssgpt::data
