// .jsonl files: one JSON object a line, the text in one of its fields.

#include "core/text.h"
#include "data/line_reader.h"
#include "data/text_file.h"

#include <cstdint>
#include <string_view>

#include <fmt/format.h>
#include <simdjson.h>

namespace ssgpt::data {

namespace {

static_assert(LineReader::kPadding >= simdjson::SIMDJSON_PADDING);

class Jsonl : public TextFile {
 public:
  Jsonl(const std::filesystem::path& path, const TextOptions& options)
      : path_(path), field_(options.field), max_line_bytes_(options.max_document_bytes), lines_(path) {}

  Result next(std::string& text, std::string& fault) override {
    std::string_view line;
    // One byte more, for the line break or to show that the line is too long.
    while (lines_.next(line, max_line_bytes_ + 1)) {
      if (lines_.is_cut() || (line.size() > max_line_bytes_ && !line.ends_with('\n'))) {
        const uint64_t number = lines_.line_number();
        skip_line();
        fault = fmt::format(
            "{}:{}: a line of more than {}, the largest document allowed: cut it into several documents",
            path_.string(), number, core::human_bytes(max_line_bytes_));
        return Result::kBad;
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
  // To the end of a line of which a part was read.
  void skip_line() {
    std::string_view part;
    while (lines_.is_cut() && lines_.next(part, max_line_bytes_ + 1)) {
    }
  }

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
  const uint64_t max_line_bytes_;
  LineReader lines_;
  simdjson::dom::parser parser_;
};

}  // namespace

std::unique_ptr<TextFile> open_jsonl(const std::filesystem::path& path, const TextOptions& options) {
  return std::make_unique<Jsonl>(path, options);
}

}  // namespace ssgpt::data
