#include "core/json.h"

#include "core/error.h"
#include "core/file.h"
#include "core/text.h"

#include <algorithm>
#include <initializer_list>
#include <optional>

#include <fmt/format.h>

namespace ssgpt::core {

namespace {

// Position of the first bracket nested too deep. In text that is not JSON, correct up to where a parser would
// stop.
std::optional<size_t> find_too_deep(std::string_view text) {
  size_t depth = 0;
  bool in_string = false;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (in_string) {
      i += c == '\\' ? 1 : 0;
      in_string = c != '"';
    } else if (c == '"') {
      in_string = true;
    } else if ((c == '[' || c == '{') && ++depth > kMaxJsonDepth) {
      return i;
    } else if ((c == ']' || c == '}') && depth > 0) {
      --depth;
    }
  }
  return std::nullopt;
}

// "line 3, column 7" for a byte position; "column 7" where the text has only one line.
std::string place_of(std::string_view text, size_t position) {
  const std::string_view before = text.substr(0, position);
  const size_t line_break = before.rfind('\n');
  const size_t line_start = line_break == std::string_view::npos ? 0 : line_break + 1;
  const std::string column = fmt::format("column {}", before.size() - line_start + 1);
  if (text.substr(0, text.find_last_not_of(" \t\r\n") + 1).find('\n') == std::string_view::npos)
    return column;
  return fmt::format("line {}, {}", 1 + std::count(before.begin(), before.end(), '\n'), column);
}

// Explains why a parser stopped at this byte.
std::string fault_at(std::string_view text, size_t position) {
  if (text.find_first_not_of(" \t\r\n") == std::string_view::npos) return "not JSON: it is empty";
  if (position >= text.size()) return "not JSON: it ends too early";
  const std::string place = place_of(text, position);
  // Python's json writes these.
  for (const std::string_view word : {"NaN", "Infinity"}) {
    if (text.substr(position).starts_with(word)) {
      return fmt::format("not JSON, which has no {} ({})", word, place);
    }
  }
  return fmt::format("not JSON ({})", place);
}

}  // namespace

template <typename Json>
Json parse_json(std::string_view text, std::string* fault) {
  std::string reason;
  if (const std::optional<size_t> position = find_too_deep(text)) {
    reason = fmt::format("JSON that nests more than {} deep ({})", kMaxJsonDepth, place_of(text, *position));
  } else {
    try {
      return Json::parse(text);
    } catch (const typename Json::parse_error& error) {
      reason = fault_at(text, std::max<size_t>(error.byte, 1) - 1);
    } catch (const typename Json::out_of_range&) {
      reason = "JSON with a number that is too large for a double (1.8e308 is the largest)";
    }
  }
  if (fault != nullptr) *fault = reason;
  return Json(Json::value_t::discarded);
}
template nlohmann::json parse_json(std::string_view text, std::string* fault);
template nlohmann::ordered_json parse_json(std::string_view text, std::string* fault);

template <typename Json>
Json read_json(const std::filesystem::path& path, uint64_t max_bytes) {
  std::string fault;
  Json value = parse_json<Json>(read_text(path, max_bytes), &fault);
  if (value.is_discarded()) throw InputError("{}: {}: the file is damaged", path.string(), fault);
  return value;
}
template nlohmann::json read_json(const std::filesystem::path& path, uint64_t max_bytes);
template nlohmann::ordered_json read_json(const std::filesystem::path& path, uint64_t max_bytes);

template <typename Json>
std::string json_text(const Json& value, int indent) {
  return value.dump(indent, ' ', /*ensure_ascii=*/false, Json::error_handler_t::replace);
}
template std::string json_text(const nlohmann::json& value, int indent);
template std::string json_text(const nlohmann::ordered_json& value, int indent);

template <typename Json>
std::string json_excerpt(const Json& value) {
  return excerpt(json_text(value));
}
template std::string json_excerpt(const nlohmann::json& value);
template std::string json_excerpt(const nlohmann::ordered_json& value);

}  // namespace ssgpt::core
