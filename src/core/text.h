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

// "1 layer", "3 layers".
std::string counted(int64_t number, std::string_view noun);

// "A", "A and B", "A, B and C".
std::string listed(std::span<const std::string> parts);

// The candidate most like `word`, for "did you mean ...?"; none where nothing is near (edit distance above a
// third).
std::optional<std::string> closest_match(std::string_view word, std::span<const std::string> candidates);

// The whole text as a decimal number, one leading '+' allowed; none where it is anything else or does not fit
// T. Floating-point numbers include "inf" and "nan". T: int64_t, uint64_t or double.
template <typename T>
std::optional<T> parse_number(std::string_view text);

// `text` with `to` in the place of each `from`, from the front; what was put in is not searched again. `from`
// holds a byte or more.
std::string replace_all(std::string_view text, std::string_view from, std::string_view to);

// Byte position of the first byte that is not valid UTF-8; none where all of `text` is.
std::optional<size_t> find_invalid_utf8(std::string_view text);

// What a file in UTF-8 may begin with; no part of its text.
inline constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";

// An escape of JSON, as in "\u00e9".
struct UnicodeEscape {
  uint32_t code_point = 0;  // of half of a surrogate pair its code unit, from 0xD800 to 0xDFFF
  size_t length = 0;        // bytes; 12 of a pair, which is one character, otherwise 6

  bool is_half_pair() const { return code_point >= 0xD800 && code_point <= 0xDFFF; }
};

// The escape that `text` begins with; none where it begins with anything else.
std::optional<UnicodeEscape> unicode_escape(std::string_view text);

// `text` as a terminal may show it: control characters but for line breaks and tabs, and bytes that are not
// UTF-8, become escapes (\x1b). All else stays; what was made printable once is not changed again.
std::string printable(std::string_view text);

// The same on one line: line breaks and tabs become escapes (\n, \t) too.
std::string printable_line(std::string_view text);

// `text`, or as much of its beginning as max_bytes hold, cut between characters, and how much was left out.
std::string shortened(std::string_view text, size_t max_bytes);

// What a message quotes of a text that stands in a file: its beginning, on one line.
std::string excerpt(std::string_view text, size_t max_bytes = 200);

// The text of an error or a log line as it is shown, whatever it quotes: printable, of at most 64 KiB, a line
// of at most 4 KiB.
std::string message_text(std::string_view text);

}  // namespace ssgpt::core
