// Accepts what Python's json reads and writes beyond the limits of the .jsonl parser.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace ssgpt::data {

// Two values of `half_pair` for as_strict_json(): a text that differs between them contains an unpaired
// surrogate; one that does not contains the first mark itself.
inline constexpr std::string_view kHalfPairMarks[] = {"\\ufdd0", "\\ufdd1"};

struct StrictJson {
  std::string text;
  bool has_half_pair = false;
};

// Returns `line` with harmless values in place of numbers that are too large for 64 bits or for a double, of
// NaN, Infinity and -Infinity, and with `half_pair`, an escape, in place of unpaired surrogates. Everything
// else, errors included, is unchanged. nullopt if there is nothing to replace.
std::optional<StrictJson> as_strict_json(std::string_view line, std::string_view half_pair);

}  // namespace ssgpt::data
