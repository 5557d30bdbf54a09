// Small helpers for messages to people.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace ssgpt::core {

std::string human_bytes(uint64_t bytes);     // "1.4 GiB"
std::string human_count(double count);       // "6.8M", "1.25B", "950"
std::string human_duration(double seconds);  // "45 s", "3 min 12 s", "2 h 05 min", "3 d 4 h"

// The candidate most like `word`, for "did you mean ...?"; none where nothing is near (edit distance above a
// third).
std::optional<std::string> closest_match(std::string_view word, std::span<const std::string> candidates);

// The whole text as a decimal number, one leading '+' allowed; none where it is anything else or does not fit
// T. Floating-point numbers include "inf" and "nan". T: int64_t, uint64_t or double.
template <typename T>
std::optional<T> parse_number(std::string_view text);

// Byte position of the first byte that is not valid UTF-8; none where all of `text` is.
std::optional<size_t> find_invalid_utf8(std::string_view text);

}  // namespace ssgpt::core
