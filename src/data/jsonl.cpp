// .jsonl files: one JSON object per line, with the text in one of its fields.

#include "core/text.h"
#include "data/lenient_json.h"
#include "data/line_reader.h"
#include "data/text_file.h"

#include <cstdint>
#include <optional>
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
    if (lines_.is_cut()) skip_line();
    // One byte more, for the line break or to show that the line is too long.
    while (lines_.next(line, max_line_bytes_ + 1)) {
      if (lines_.is_cut() || (line.size() > max_line_bytes_ && !line.ends_with('\n'))) {
        // The rest of it may be most of a large file: it is skipped when the next document is requested.
        fault = fmt::format(
            "{}:{}: a line of more than {}, the largest document allowed: cut it into several documents",
            path_.string(), lines_.line_number(), core::human_bytes(max_line_bytes_));
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
  // Skips the rest of a line that has been read in part.
  void skip_line() {
    std::string_view part;
    while (lines_.is_cut() && lines_.next(part, max_line_bytes_ + 1)) {
    }
  }

  // Extracts the field's text; returns what is wrong, or an empty string.
  std::string extract(std::string_view line, std::string& text) {
    simdjson::dom::element element;
    // No copy is needed: LineReader guarantees readable bytes after each line.
    auto error = parser_.parse(line.data(), line.size(), /*realloc_if_needed=*/false).get(element);
    const auto strict = error ? as_strict_json(line, kHalfPairMarks[0]) : std::nullopt;
    if (strict) {
      error = parser_.parse(strict->text).get(element);  // parses a padded copy
    }
    if (error) {
      return fault_of(error);
    }
    std::string_view content;
    if (std::string problem = find_text(element, content); !problem.empty()) {
      return problem;
    }
    text.assign(content);
    if (strict && strict->has_half_pair && depends_on_mark(line, text)) {
      return fmt::format("the field \"{}\" holds half of a surrogate pair, which is no character", field_);
    }
    return {};
  }

  // Finds the field's text, valid until the next parse; returns what is wrong, or an empty string.
  std::string find_text(const simdjson::dom::element& element, std::string_view& content) const {
    simdjson::dom::object object;
    if (element.get(object)) {
      return "not a JSON object";
    }
    std::optional<simdjson::dom::element> found;
    for (const auto [key, value] : object) {
      if (key == field_) {
        found = value;  // the last of duplicate keys wins
      }
    }
    if (!found) {
      return fmt::format("the object has no field \"{}\"", field_);
    }
    if (found->get(content)) {
      return fmt::format("the field \"{}\" is not a string", field_);
    }
    return {};
  }

  // Whether the field, which is `text` with the first mark, contains an unpaired surrogate: the line may
  // contain the mark itself, in which case the other mark leaves the field unchanged.
  bool depends_on_mark(std::string_view line, std::string_view text) {
    const auto other = as_strict_json(line, kHalfPairMarks[1]);
    simdjson::dom::element element;
    std::string_view content;
    return !other || parser_.parse(other->text).get(element) || !find_text(element, content).empty() ||
           content != text;
  }

  static std::string fault_of(simdjson::error_code error) {
    switch (error) {
      case simdjson::UTF8_ERROR:
        return "not valid UTF-8";
      case simdjson::DEPTH_ERROR:
        return "JSON that nests too deep";
      default:
        return fmt::format("not JSON: {}", simdjson::error_message(error));
    }
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
