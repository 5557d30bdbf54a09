// Parses and writes JSON. All JSON that is read as a whole passes through here, so that no file can produce a
// value too deeply nested for the recursive functions (copy, dump, comparison).
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>

#include <nlohmann/json.hpp>

namespace ssgpt::core {

// Nesting depth of brackets and braces: several times that of any file of this program or of Hugging Face.
inline constexpr size_t kMaxJsonDepth = 64;

// Default limit on the size of a file in bytes: its parsed values take about ten times as much memory.
inline constexpr uint64_t kMaxJsonBytes = uint64_t{16} << 20;

// Parses `text`; of a duplicate key the last value wins. On failure returns a discarded value
// (Json::is_discarded()) and sets `fault`, if given, to the reason: "not JSON (line 3, column 7)". Json:
// nlohmann::json, whose keys are sorted, or nlohmann::ordered_json.
template <typename Json>
Json parse_json(std::string_view text, std::string* fault = nullptr);

// Parses a file. Throws InputError where the file cannot be read, is larger than max_bytes, or is not valid
// JSON.
template <typename Json>
Json read_json(const std::filesystem::path& path, uint64_t max_bytes = kMaxJsonBytes);

// `value` as text: on one line, or where `indent` is 0 or more, indented by that many spaces per level. Bytes
// that are not UTF-8, which file names may contain, become U+FFFD. Json: as above.
template <typename Json>
std::string json_text(const Json& value, int indent = -1);

// The beginning of that text, for quoting in a message (core/text.h).
template <typename Json>
std::string json_excerpt(const Json& value);

}  // namespace ssgpt::core
