#include "core/text.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <charconv>
#include <cmath>
#include <system_error>
#include <vector>

#include <fmt/format.h>
#include <simdjson.h>

namespace ssgpt::core {

namespace {

// Three significant digits without trailing zeros.
std::string three_digits(double value) {
  std::string text = fmt::format("{:.{}f}", value, value >= 99.95 ? 0 : value >= 9.995 ? 1 : 2);
  if (text.find('.') != std::string::npos) {
    text.erase(text.find_last_not_of('0') + 1);
    if (text.back() == '.') {
      text.pop_back();
    }
  }
  return text;
}

// Case-insensitive edit distance; swapping two adjacent characters counts once (optimal string alignment).
size_t edit_distance(std::string_view a, std::string_view b) {
  const auto same = [](char x, char y) {
    return std::tolower(static_cast<unsigned char>(x)) == std::tolower(static_cast<unsigned char>(y));
  };
  std::vector<std::vector<size_t>> distance(a.size() + 1, std::vector<size_t>(b.size() + 1));
  for (size_t i = 0; i <= a.size(); ++i) {
    for (size_t j = 0; j <= b.size(); ++j) {
      if (i == 0 || j == 0) {
        distance[i][j] = i + j;
        continue;
      }
      const size_t change = same(a[i - 1], b[j - 1]) ? 0 : 1;
      distance[i][j] =
          std::min({distance[i - 1][j] + 1, distance[i][j - 1] + 1, distance[i - 1][j - 1] + change});
      if (i > 1 && j > 1 && same(a[i - 1], b[j - 2]) && same(a[i - 2], b[j - 1])) {
        distance[i][j] = std::min(distance[i][j], distance[i - 2][j - 2] + 1);
      }
    }
  }
  return distance[a.size()][b.size()];
}

// Length of the well-formed UTF-8 sequence at the start of `text`; 0 if there is none (Unicode 15, table
// 3-7).
size_t sequence_length(std::string_view text) {
  const auto byte = [&](size_t i) {
    return static_cast<unsigned char>(text[i]);
  };
  const unsigned char lead = byte(0);
  size_t length = 0;
  unsigned char second_min = 0x80;
  unsigned char second_max = 0xBF;
  if (lead < 0x80) {
    return 1;
  } else if (lead >= 0xC2 && lead <= 0xDF) {
    length = 2;
  } else if (lead >= 0xE0 && lead <= 0xEF) {
    length = 3;
    second_min = lead == 0xE0 ? 0xA0 : 0x80;  // no overlong form
    second_max = lead == 0xED ? 0x9F : 0xBF;  // no surrogate
  } else if (lead >= 0xF0 && lead <= 0xF4) {
    length = 4;
    second_min = lead == 0xF0 ? 0x90 : 0x80;
    second_max = lead == 0xF4 ? 0x8F : 0xBF;  // nothing above U+10FFFF
  } else {
    return 0;
  }
  if (text.size() < length || byte(1) < second_min || byte(1) > second_max) {
    return 0;
  }
  for (size_t i = 2; i < length; ++i) {
    if ((byte(i) & 0xC0) != 0x80) {
      return 0;
    }
  }
  return length;
}

// Whether the valid UTF-8 sequence is a control character: U+0000 to U+001F, U+007F to U+009F.
bool is_control(std::string_view sequence) {
  const auto lead = static_cast<unsigned char>(sequence[0]);
  return lead < 0x20 || lead == 0x7F || (lead == 0xC2 && static_cast<unsigned char>(sequence[1]) < 0xA0);
}

// The code unit of a "\\uXXXX" at the start of `text`; nullopt for anything else.
std::optional<uint32_t> code_unit(std::string_view text) {
  uint32_t unit = 0;
  if (!text.starts_with("\\u") || text.size() < 6) return std::nullopt;
  const auto [end, error] = std::from_chars(text.data() + 2, text.data() + 6, unit, 16);
  return error == std::errc() && end == text.data() + 6 ? std::optional(unit) : std::nullopt;
}

std::string escaped(std::string_view text, bool one_line) {
  std::string result;
  result.reserve(text.size());
  while (!text.empty()) {
    const size_t valid = sequence_length(text);
    const std::string_view sequence = text.substr(0, std::max<size_t>(valid, 1));
    const bool layout = text[0] == '\n' || text[0] == '\t';
    if (layout && one_line) {
      result += text[0] == '\n' ? "\\n" : "\\t";
    } else if (valid > 0 && (layout || !is_control(sequence))) {
      result += sequence;
    } else {
      for (const char byte : sequence) {
        result += fmt::format("\\x{:02x}", static_cast<unsigned char>(byte));
      }
    }
    text.remove_prefix(sequence.size());
  }
  return result;
}

}  // namespace

std::string human_bytes(uint64_t bytes) {
  constexpr std::array kUnits = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
  double value = static_cast<double>(bytes);
  size_t unit = 0;
  while (value >= 1023.95 && unit + 1 < kUnits.size()) {
    value /= 1024;
    ++unit;
  }
  return fmt::format("{:.{}f} {}", value, unit == 0 ? 0 : 1, kUnits[unit]);
}

std::string human_count(double count) {
  constexpr std::array kUnits = {"", "K", "M", "B", "T"};
  if (!std::isfinite(count)) {
    return fmt::format("{}", count);
  }
  if (count < 0) {
    return fmt::format("-{}", human_count(-count));
  }
  size_t unit = 0;
  while (count >= 999.5 && unit + 1 < kUnits.size()) {
    count /= 1000;
    ++unit;
  }
  return three_digits(count) + kUnits[unit];
}

std::string human_duration(double seconds) {
  if (!std::isfinite(seconds) || seconds < 0) {
    return "unknown";
  }
  if (seconds < 9.95) {
    return fmt::format("{:.1f} s", seconds);
  }
  const auto whole = static_cast<int64_t>(std::min(std::round(seconds), 1e15));
  if (whole < 60) {
    return fmt::format("{} s", whole);
  }
  if (whole < 3600) {
    return fmt::format("{} min {:02} s", whole / 60, whole % 60);
  }
  if (whole < 86400) {
    return fmt::format("{} h {:02} min", whole / 3600, whole % 3600 / 60);
  }
  return fmt::format("{} d {} h", whole / 86400, whole % 86400 / 3600);
}

std::string counted(int64_t number, std::string_view noun) {
  return fmt::format("{} {}{}", number, noun, number == 1 ? "" : "s");
}

std::string listed(std::span<const std::string> parts) {
  std::string text;
  for (size_t i = 0; i < parts.size(); ++i) {
    text.append(i == 0 ? "" : i + 1 == parts.size() ? " and " : ", ").append(parts[i]);
  }
  return text;
}

std::optional<std::string> closest_match(std::string_view word, std::span<const std::string> candidates) {
  std::optional<std::string> best;
  size_t best_distance = 0;
  for (const std::string& candidate : candidates) {
    // The distance is at least the difference in length; for a word of megabytes the table would be huge.
    const auto [shorter, longer] = std::minmax({word.size(), candidate.size()});
    if (3 * (longer - shorter) > longer) continue;
    const size_t distance = edit_distance(word, candidate);
    if (3 * distance <= std::max(word.size(), candidate.size()) && (!best || distance < best_distance)) {
      best = candidate;
      best_distance = distance;
    }
  }
  return best;
}

template <typename T>
std::optional<T> parse_number(std::string_view text) {
  if (text.starts_with('+')) {
    text.remove_prefix(1);
    if (text.starts_with('-')) {
      return std::nullopt;
    }
  }
  T value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) {
    return std::nullopt;
  }
  return value;
}
template std::optional<int64_t> parse_number(std::string_view text);
template std::optional<uint64_t> parse_number(std::string_view text);
template std::optional<double> parse_number(std::string_view text);

std::string replace_all(std::string_view text, std::string_view from, std::string_view to) {
  std::string replaced;
  size_t done = 0;
  for (size_t at = text.find(from); at != std::string_view::npos; at = text.find(from, done)) {
    replaced.append(text, done, at - done).append(to);
    done = at + from.size();
  }
  return replaced.append(text, done);
}

std::string shell_word(std::string_view text) {
  constexpr std::string_view kPlain =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789/._-+=:,@%";
  if (!text.empty() && text.find_first_not_of(kPlain) == std::string_view::npos) return std::string(text);
  return fmt::format("'{}'", replace_all(text, "'", "'\\''"));
}

std::optional<size_t> find_invalid_utf8(std::string_view text) {
  if (simdjson::validate_utf8(text)) return std::nullopt;
  // simdjson does not say where the fault is.
  size_t position = 0;
  while (position < text.size()) {
    const size_t length = sequence_length(text.substr(position));
    if (length == 0) {
      return position;
    }
    position += length;
  }
  return std::nullopt;
}

std::string replace_invalid_utf8(std::string_view text, std::string_view replacement) {
  std::string valid;
  valid.reserve(text.size());
  while (!text.empty()) {
    const size_t length = sequence_length(text);
    valid += length > 0 ? text.substr(0, length) : replacement;
    text.remove_prefix(std::max<size_t>(length, 1));
  }
  return valid;
}

std::optional<UnicodeEscape> unicode_escape(std::string_view text) {
  const std::optional<uint32_t> high = code_unit(text);
  if (!high) return std::nullopt;
  if (*high >= 0xD800 && *high <= 0xDBFF) {
    const std::optional<uint32_t> low = code_unit(text.substr(6));
    if (low && *low >= 0xDC00 && *low <= 0xDFFF) {
      return UnicodeEscape{.code_point = 0x10000 + ((*high - 0xD800) << 10) + (*low - 0xDC00), .length = 12};
    }
  }
  return UnicodeEscape{.code_point = *high, .length = 6};
}

std::string printable(std::string_view text) {
  return escaped(text, /*one_line=*/false);
}

std::string printable_line(std::string_view text) {
  return escaped(text, /*one_line=*/true);
}

std::string shortened(std::string_view text, size_t max_bytes) {
  if (text.size() <= max_bytes) {
    return std::string(text);
  }
  size_t end = max_bytes;
  while (end > 0 && max_bytes - end < 3 && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80) {
    --end;
  }
  return fmt::format("{}... ({} more)", text.substr(0, end), human_bytes(text.size() - end));
}

std::string excerpt(std::string_view text, size_t max_bytes) {
  return printable_line(shortened(text, max_bytes));
}

std::string message_text(std::string_view text) {
  constexpr size_t kMaxBytes = 64 * 1024;
  constexpr size_t kMaxLineBytes = 4 * 1024;
  std::string shown;
  for (size_t begin = 0; begin <= text.size();) {
    if (shown.size() > kMaxBytes) {
      return fmt::format("{}... ({} more)", shown, human_bytes(text.size() - begin));
    }
    const size_t end = std::min(text.find('\n', begin), text.size());
    shown += shortened(printable(text.substr(begin, end - begin)), kMaxLineBytes);
    if (end < text.size()) shown += '\n';
    begin = end + 1;
  }
  return shown;
}

}  // namespace ssgpt::core
