#include "data/lenient_json.h"

#include "core/text.h"

#include <algorithm>
#include <charconv>
#include <cstdint>
#include <system_error>

namespace ssgpt::data {

namespace {

constexpr std::string_view kNumber = " 0 ";  // blanks keep it from merging with its neighbours

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

size_t count_digits(std::string_view text) {
  size_t count = 0;
  while (count < text.size() && is_digit(text[count])) {
    ++count;
  }
  return count;
}

// Length of the JSON number at the start of `text`; 0 if there is none.
size_t number_length(std::string_view text) {
  size_t length = text.starts_with('-') ? 1 : 0;
  const size_t whole = count_digits(text.substr(length));
  if (whole == 0 || (whole > 1 && text[length] == '0')) {
    return 0;
  }
  length += whole;
  if (text.substr(length).starts_with('.')) {
    const size_t fraction = count_digits(text.substr(length + 1));
    if (fraction == 0) {
      return 0;
    }
    length += 1 + fraction;
  }
  if (length < text.size() && (text[length] == 'e' || text[length] == 'E')) {
    const size_t sign =
        length + 1 < text.size() && (text[length + 1] == '+' || text[length + 1] == '-') ? 1 : 0;
    const size_t exponent = count_digits(text.substr(length + 1 + sign));
    if (exponent == 0) {
      return 0;
    }
    length += 1 + sign + exponent;
  }
  return length;
}

// Returns the number, or kNumber if it is too large for 64 bits or a double.
std::string_view representable(std::string_view number) {
  const char* end = number.data() + number.size();
  const bool whole = number.find_first_of(".eE") == std::string_view::npos;
  std::errc error{};
  if (!whole) {
    double value = 0.0;
    error = std::from_chars(number.data(), end, value).ec;
  } else if (number.starts_with('-')) {
    int64_t value = 0;
    error = std::from_chars(number.data(), end, value).ec;
  } else {
    uint64_t value = 0;
    error = std::from_chars(number.data(), end, value).ec;
  }
  return error == std::errc() ? number : kNumber;
}

// Copies the escape at the start of `text` and returns its length; a surrogate pair counts as one escape.
size_t copy_escape(std::string_view text, std::string_view half_pair, StrictJson& out) {
  const auto escape = core::unicode_escape(text);
  const size_t length = escape ? escape->length : std::min<size_t>(text.size(), 2);
  const bool is_half_pair = escape && escape->is_half_pair();
  out.has_half_pair |= is_half_pair;
  out.text.append(is_half_pair ? half_pair : text.substr(0, length));
  return length;
}

// Copies the token at the start of `text`, outside a string, and returns its length.
size_t copy_token(std::string_view text, std::string& out) {
  for (const std::string_view word : {"NaN", "Infinity", "-Infinity"}) {
    if (text.starts_with(word)) {
      out.append(kNumber);
      return word.size();
    }
  }
  if (const size_t length = number_length(text); length > 0) {
    out.append(representable(text.substr(0, length)));
    return length;
  }
  // A sequence that is not a number is copied whole, so that its digits are scanned only once.
  const bool like_number = is_digit(text.front()) || text.front() == '-';
  const size_t length = like_number ? std::min(text.find_first_not_of("0123456789+-.eE"), text.size()) : 1;
  out.append(text.substr(0, length));
  return length;
}

}  // namespace

std::optional<StrictJson> as_strict_json(std::string_view line, std::string_view half_pair) {
  StrictJson out;
  out.text.reserve(line.size());
  bool in_string = false;
  for (size_t at = 0; at < line.size();) {
    const std::string_view rest = line.substr(at);
    if (in_string && rest.front() == '\\') {
      at += copy_escape(rest, half_pair, out);
    } else if (in_string || rest.front() == '"') {
      in_string ^= rest.front() == '"';
      out.text.push_back(rest.front());
      ++at;
    } else {
      at += copy_token(rest, out.text);
    }
  }
  return out.text == line ? std::nullopt : std::optional(std::move(out));
}

}  // namespace ssgpt::data
