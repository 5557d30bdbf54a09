// Reads the documents of text files, one at a time, in constant memory: .txt, .jsonl, and both with .zst
// appended. Not responsible for what is done with the text.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace ssgpt::data {

enum class OnBad {
  kRefuse,  // throw
  kSkip,    // leave the document out, count it, and warn of the first few
};

struct TextOptions {
  std::string field = "text";  // key in each JSON object
  // Splits a .txt file into documents at lines that are exactly this; nullopt: see split_documents_at.
  std::optional<std::string> document_separator;
  // Without a separator a .txt file is cut into documents of about this many bytes: after a blank line; if
  // none is near, after any line; and in a very long line before a blank. 0: each file is one document.
  uint64_t split_documents_at = 16 * 1024;
  // Size limit of a document or a line of JSON, each of which is held in memory as a whole, in more than one
  // form. A .txt file with a larger document is refused; a larger line is a bad document.
  uint64_t max_document_bytes = uint64_t{16} << 20;
  OnBad on_bad = OnBad::kRefuse;
};

// What was left out, and why.
struct LeftOut {
  int64_t empty = 0;  // documents with nothing but white space
  int64_t bad = 0;
  std::vector<std::string> first_bad;  // the first few: "file:line: what is wrong"
};

class TextFile;

class TextReader {
 public:
  // Opens every file once to see that it exists and is readable. Throws core::InputError, and
  // core::UsageError for a name that does not end in .txt, .jsonl, .txt.zst or .jsonl.zst, and for parts
  // larger than half the size limit of a document.
  TextReader(std::vector<std::filesystem::path> paths, TextOptions options);
  ~TextReader();

  // Returns the next document: never empty, always valid UTF-8, exactly as it is in the file. False at the
  // end. Throws core::InputError for a file that cannot be read, for a document of a .txt file that is larger
  // than max_document_bytes and, with OnBad::kRefuse, for a line that is not JSON or is larger than that,
  // that lacks the field, or for text that is not UTF-8, naming file and line or byte.
  bool next(std::string& text);

  const LeftOut& left_out() const { return left_out_; }

  // Bytes on disk, of all files and of what has been read so far.
  uint64_t bytes_total() const { return bytes_total_; }
  uint64_t bytes_read() const;

 private:
  void refuse_or_count(const std::string& fault);

  const std::vector<std::filesystem::path> paths_;
  const TextOptions options_;
  std::unique_ptr<TextFile> file_;
  size_t next_path_ = 0;
  uint64_t bytes_total_ = 0;
  uint64_t bytes_finished_ = 0;  // of files that have been read to the end
  LeftOut left_out_;
};

}  // namespace ssgpt::data
