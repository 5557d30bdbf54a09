// One text file as a stream of documents; the interface of the two formats behind TextReader.
#pragma once

#include "data/text_reader.h"

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>

namespace ssgpt::data {

class TextFile {
 public:
  enum class Result { kDocument, kBad, kEnd };

  virtual ~TextFile() = default;

  // Stores the next document in `text` or, if it is bad, the place and the reason in `fault`.
  virtual Result next(std::string& text, std::string& fault) = 0;
  virtual uint64_t file_bytes_read() const = 0;
};

std::unique_ptr<TextFile> open_plain_text(const std::filesystem::path& path, const TextOptions& options);
std::unique_ptr<TextFile> open_jsonl(const std::filesystem::path& path, const TextOptions& options);

}  // namespace ssgpt::data
