#include "data/text_reader.h"

#include "core/error.h"
#include "core/file.h"
#include "core/log.h"
#include "data/text_file.h"

#include <utility>

namespace ssgpt::data {

namespace {

constexpr size_t kExamples = 5;

// ".txt" or ".jsonl", ignoring a .zst after it.
std::string format_of(const std::filesystem::path& path) {
  const std::filesystem::path inner = path.extension() == ".zst" ? path.stem() : path;
  return inner.extension().string();
}

std::unique_ptr<TextFile> open_text(const std::filesystem::path& path, const TextOptions& options) {
  return format_of(path) == ".txt" ? open_plain_text(path, options) : open_jsonl(path, options);
}

bool is_blank(std::string_view text) {
  return text.find_first_not_of(" \t\r\n") == std::string_view::npos;
}

}  // namespace

TextReader::TextReader(std::vector<std::filesystem::path> paths, TextOptions options)
    : paths_(std::move(paths)), options_(std::move(options)) {
  if (paths_.empty()) {
    throw core::UsageError("no text files are given");
  }
  if (!options_.document_separator && options_.split_documents_at > options_.max_document_bytes / 2) {
    throw core::UsageError(
        "--split-documents-at {}: allowed are parts of up to {} bytes, and 0 for whole files",
        options_.split_documents_at, options_.max_document_bytes / 2);
  }
  for (const std::filesystem::path& path : paths_) {
    if (const std::string format = format_of(path); format != ".txt" && format != ".jsonl") {
      throw core::UsageError(
          "{}: text is read from files whose names end in .txt, .jsonl, .txt.zst or .jsonl.zst",
          path.string());
    }
    bytes_total_ += core::InputFile(path).size();
  }
}

TextReader::~TextReader() = default;

uint64_t TextReader::bytes_read() const {
  return bytes_finished_ + (file_ ? file_->file_bytes_read() : 0);
}

void TextReader::refuse_or_count(const std::string& fault) {
  if (options_.on_bad == OnBad::kRefuse) {
    throw core::InputError("{}. With --on-bad skip such documents are left out and counted.", fault);
  }
  if (left_out_.first_bad.size() < kExamples) {
    left_out_.first_bad.push_back(fault);
    core::log::warning("left out: {}", fault);
  }
  ++left_out_.bad;
}

bool TextReader::next(std::string& text) {
  while (true) {
    if (!file_) {
      if (next_path_ == paths_.size()) {
        return false;
      }
      file_ = open_text(paths_[next_path_++], options_);
    }
    std::string fault;
    switch (file_->next(text, fault)) {
      case TextFile::Result::kDocument:
        if (!is_blank(text)) {
          return true;
        }
        ++left_out_.empty;
        break;
      case TextFile::Result::kBad:
        refuse_or_count(fault);
        break;
      case TextFile::Result::kEnd:
        bytes_finished_ += file_->file_bytes_read();
        file_.reset();
        break;
    }
  }
}

}  // namespace ssgpt::data
