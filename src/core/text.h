// Small helpers for user-facing messages.
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

// The candidate most similar to `word`, for "did you mean ...?"; nullopt where none is close (edit distance
// above a third of the longer word).
std::optional<std::string> closest_match(std::string_view word, std::span<const std::string> candidates);

// Parses the whole text as a decimal number, with an optional leading '+'; nullopt where it is anything else
// or does not fit T. Floating-point numbers include "inf" and "nan". T: int64_t, uint64_t or double.
template <typename T>
std::optional<T> parse_number(std::string_view text);

// Replaces each `from` in `text` by `to`, from the front; replacements are not searched again. `from` must
// not be empty.
std::string replace_all(std::string_view text, std::string_view from, std::string_view to);

// `text` as one word of a shell's command line: quoted where it holds anything that a shell may interpret.
std::string shell_word(std::string_view text);

// Position of the first byte that is not valid UTF-8; nullopt where `text` is valid.
std::optional<size_t> find_invalid_utf8(std::string_view text);

// Replaces each byte in `text` that is not part of a character by `replacement`.
std::string replace_invalid_utf8(std::string_view text, std::string_view replacement);

// May precede the text of a UTF-8 file, and is not part of it.
inline constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";

// A JSON escape such as "\u00e9".
struct UnicodeEscape {
  uint32_t code_point = 0;  // for an unpaired surrogate its code unit, 0xD800 to 0xDFFF
  size_t length = 0;        // bytes; 12 for a surrogate pair (one character), otherwise 6

  bool is_half_pair() const { return code_point >= 0xD800 && code_point <= 0xDFFF; }
};

// The escape at the start of `text`; nullopt where it begins with anything else.
std::optional<UnicodeEscape> unicode_escape(std::string_view text);

// `text` made safe for a terminal: control characters other than line breaks and tabs, and bytes that are not
// UTF-8, become escapes (\x1b). Everything else is unchanged, so the function is idempotent.
std::string printable(std::string_view text);

// The same on one line: line breaks and tabs become escapes (\n, \t) too.
std::string printable_line(std::string_view text);

// `text`, or its beginning of at most max_bytes, cut between characters, followed by how much was left out.
std::string shortened(std::string_view text, size_t max_bytes);

// Quotes file contents in a message: their beginning, on one line.
std::string excerpt(std::string_view text, size_t max_bytes = 200);

// The displayed form of an error or log message, whatever it quotes: printable, at most about 64 KiB in total
// and 4 KiB per line.
std::string message_text(std::string_view text);

}  // namespace ssgpt::core
