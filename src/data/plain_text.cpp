// .txt files: as a whole, split at separator lines, or cut into parts.

#include "core/error.h"
#include "core/text.h"
#include "data/line_reader.h"
#include "data/text_file.h"

#include <algorithm>
#include <cstddef>
#include <string_view>

#include <fmt/format.h>

namespace ssgpt::data {

namespace {

std::string_view without_line_break(std::string_view line) {
  if (line.ends_with('\n')) {
    line.remove_suffix(1);
  }
  if (line.ends_with('\r')) {
    line.remove_suffix(1);
  }
  return line;
}

class PlainText : public TextFile {
 public:
  PlainText(const std::filesystem::path& path, const TextOptions& options)
      : path_(path),
        separator_(options.document_separator),
        max_document_bytes_(static_cast<size_t>(options.max_document_bytes)),
        lines_(path) {
    if (!separator_ && options.split_documents_at > 0) {
      part_bytes_ = static_cast<size_t>(std::max<uint64_t>(options.split_documents_at, 16));
    }
  }

  Result next(std::string& text, std::string& fault) override {
    text.clear();
    // A very long line is cut as well, so that memory stays bounded; a part ends after a blank if possible.
    const size_t max_line = part_bytes_ == 0 ? max_document_bytes_ : part_bytes_;
    uint64_t start = 0;
    bool any = false;
    std::string_view line;
    while (!at_boundary(text) && lines_.next(line, max_line)) {
      start = any ? start : lines_.line_offset();
      any = true;
      const bool at_line_start = text.empty() || text.ends_with('\n');
      if (separator_ && at_line_start && without_line_break(line) == *separator_) {
        break;
      }
      if (part_bytes_ == 0 && text.size() + line.size() > max_document_bytes_) {
        refuse_size(start);
      }
      text.append(line);
    }
    if (!any) {
      return Result::kEnd;
    }
    if (const auto invalid = core::find_invalid_utf8(text)) {
      fault = fmt::format("{}: not valid UTF-8 at byte {} (0x{:02X})", path_.string(), start + *invalid,
                          static_cast<unsigned char>(text[*invalid]));
      return Result::kBad;
    }
    return Result::kDocument;
  }

  uint64_t file_bytes_read() const override { return lines_.file_bytes_read(); }

 private:
  [[noreturn]] void refuse_size(uint64_t start) const {
    const std::string limit = core::human_bytes(max_document_bytes_);
    if (separator_) {
      throw core::InputError(
          "{}: the document at byte {} is larger than {}, the largest allowed: no line in it is just \"{}\". "
          "Is this the right --document-separator?",
          path_.string(), start, limit, *separator_);
    }
    throw core::InputError(
        "{}: larger than {}, the largest document allowed. Cut it into documents with --split-documents-at, "
        "or with --document-separator.",
        path_.string(), limit);
  }

  // Whether a document may end after `text`, which must be large enough, and larger at a worse boundary.
  bool at_boundary(std::string_view text) const {
    if (part_bytes_ == 0 || text.size() < part_bytes_) {
      return false;
    }
    const bool blank_line = text.ends_with("\n\n") || text.ends_with("\n\r\n");
    return blank_line || (text.ends_with('\n') && text.size() >= part_bytes_ + part_bytes_ / 4) ||
           text.size() >= 2 * part_bytes_;
  }

  const std::filesystem::path path_;
  const std::optional<std::string> separator_;
  const size_t max_document_bytes_;
  LineReader lines_;
  size_t part_bytes_ = 0;  // 0: not cut
};

}  // namespace

std::unique_ptr<TextFile> open_plain_text(const std::filesystem::path& path, const TextOptions& options) {
  return std::make_unique<PlainText>(path, options);
}

}  // namespace ssgpt::data
