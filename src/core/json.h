// JSON texts to values and back. All JSON that is read as a whole comes through here, so that no file makes
// the program build a value that its recursive functions (copies, dumps, comparisons) cannot walk through.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>

#include <nlohmann/json.hpp>

namespace ssgpt::core {

// Brackets and braces in each other: several times what any file of this program or of Hugging Face has.
inline constexpr size_t kMaxJsonDepth = 64;

// Of a file in bytes, where its reader names no other limit: its values take some ten times as much memory.
inline constexpr uint64_t kMaxJsonBytes = uint64_t{16} << 20;

// The value that `text` holds, of a key that is listed twice the last. Discarded (Json::is_discarded()) where
// it holds none, and then `fault`, where it is given, says why: "not JSON (line 3, column 7)". Json:
// nlohmann::json, whose keys are sorted, or nlohmann::ordered_json.
template <typename Json>
Json parse_json(std::string_view text, std::string* fault = nullptr);

// The value in the file. Throws InputError where the file cannot be read, is larger than max_bytes, or holds
// none.
template <typename Json>
Json read_json(const std::filesystem::path& path, uint64_t max_bytes = kMaxJsonBytes);

// The text of `value`: on one line, or with `indent` blanks a level from 0 on. Bytes that are not UTF-8, as
// names of files may have them, become U+FFFD. Json: as above.
template <typename Json>
std::string json_text(const Json& value, int indent = -1);

// The beginning of that text, as a message quotes it (core/text.h).
template <typename Json>
std::string json_excerpt(const Json& value);

}  // namespace ssgpt::core
