// Splits a byte stream into lines, without copying them and in time linear in their length.
#pragma once

#include "data/byte_stream.h"

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string_view>
#include <vector>

namespace ssgpt::data {

class LineReader {
 public:
  // Readable, meaningless bytes after every line: simdjson reads in blocks.
  static constexpr size_t kPadding = 64;

  // Skips a UTF-8 byte order mark at the start, which is not text.
  explicit LineReader(const std::filesystem::path& path);

  // Returns the next line with its line break, if it has one; valid until the next call. Returns false at the
  // end of the file. A line longer than max_bytes is returned in parts of at most that many bytes, cut before
  // a blank if there is one in the part's second half, else between characters.
  bool next(std::string_view& line, size_t max_bytes);

  // Whether the last line was only a part, and the next call returns more of it.
  bool is_cut() const { return cut_; }

  uint64_t line_number() const { return line_number_; }  // of the last line, from 1
  uint64_t line_offset() const { return line_offset_; }  // its first byte in the (decompressed) file
  // Bytes of the file that the lines so far take up. For a compressed file this is approximate: bytes
  // decompressed beyond them are assumed to compress equally well.
  uint64_t file_bytes_read() const;

 private:
  bool fill();
  std::string_view unread() const { return {buffer_.data() + begin_, end_ - begin_}; }

  std::unique_ptr<ByteStream> stream_;
  std::vector<char> buffer_;
  size_t begin_ = 0;  // unread bytes are [begin_, end_) of buffer_
  size_t end_ = 0;
  uint64_t offset_ = 0;  // stream offset of begin_
  uint64_t line_number_ = 0;
  uint64_t line_offset_ = 0;
  bool line_continues_ = false;
  bool cut_ = false;
};

}  // namespace ssgpt::data
