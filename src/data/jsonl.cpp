// .jsonl files: one JSON object a line, the text in one of its fields.

#include "core/error.h"
#include "core/text.h"
#include "data/line_reader.h"
#include "data/text_file.h"

#include <cstddef>
#include <string_view>

#include <fmt/format.h>
#include <simdjson.h>

namespace ssgpt::data {

namespace {

static_assert(LineReader::kPadding >= simdjson::SIMDJSON_PADDING);

constexpr size_t kMaxLineBytes = size_t{1} << 30;

class Jsonl : public TextFile {
 public:
  Jsonl(const std::filesystem::path& path, const TextOptions& options)
      : path_(path), field_(options.field), lines_(path) {}

  Result next(std::string& text, std::string& fault) override {
    std::string_view line;
    while (lines_.next(line, kMaxLineBytes)) {
      if (line.size() > kMaxLineBytes - 8) {
        throw core::InputError("{}:{}: a line of more than {}: this is no JSONL file", path_.string(),
                               lines_.line_number(), core::human_bytes(kMaxLineBytes));
      }
      if (line.find_first_not_of(" \t\r\n") == std::string_view::npos) {
        continue;
      }
      const std::string problem = extract(line, text);
      if (problem.empty()) {
        return Result::kDocument;
      }
      fault = fmt::format("{}:{}: {}", path_.string(), lines_.line_number(), problem);
      return Result::kBad;
    }
    return Result::kEnd;
  }

  uint64_t file_bytes_read() const override { return lines_.file_bytes_read(); }

 private:
  // The field's text; returns what is wrong, or nothing.
  std::string extract(std::string_view line, std::string& text) {
    simdjson::dom::element element;
    // No copy is needed: LineReader keeps readable bytes behind each line.
    if (const auto error =
            parser_.parse(line.data(), line.size(), /*realloc_if_needed=*/false).get(element)) {
      return error == simdjson::UTF8_ERROR ? "not valid UTF-8"
                                           : fmt::format("not JSON: {}", simdjson::error_message(error));
    }
    simdjson::dom::object object;
    if (element.get(object)) {
      return "not a JSON object";
    }
    simdjson::dom::element value;
    if (object.at_key(field_).get(value)) {
      return fmt::format("the object has no field \"{}\"", field_);
    }
    std::string_view content;
    if (value.get(content)) {
      return fmt::format("the field \"{}\" is not a string", field_);
    }
    if (core::find_invalid_utf8(content)) {
      return fmt::format("the field \"{}\" holds a half surrogate pair, which is no character", field_);
    }
    text.assign(content);
    return {};
  }

  const std::filesystem::path path_;
  const std::string field_;
  LineReader lines_;
  simdjson::dom::parser parser_;
};

}  // namespace

std::unique_ptr<TextFile> open_jsonl(const std::filesystem::path& path, const TextOptions& options) {
  return std::make_unique<Jsonl>(path, options);
}

}  // namespace ssgpt::data
