// Lines of a byte stream, without copying them and in time linear in their length.
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
  // Bytes behind every line that may be read, though they mean nothing: simdjson reads in blocks.
  static constexpr size_t kPadding = 64;

  // A UTF-8 byte order mark at the start is left out: it marks the file's encoding and is no text.
  explicit LineReader(const std::filesystem::path& path);

  // The next line with its line break, if it has one; valid until the next call; false at the end of the
  // file. A line longer than max_bytes comes in parts of at most that many bytes, cut before a blank if there
  // is one in the part's second half, else between characters.
  bool next(std::string_view& line, size_t max_bytes);

  // Whether the last line was only a part, and the next call gives more of it.
  bool is_cut() const { return cut_; }

  uint64_t line_number() const { return line_number_; }  // of the last line, from 1
  uint64_t line_offset() const { return line_offset_; }  // its first byte in the (decompressed) file
  // Bytes of the file that the lines up to now take; in a compressed one about, for what was unpacked beyond
  // them is taken to be packed as well as the rest.
  uint64_t file_bytes_read() const;

 private:
  bool fill();
  std::string_view unread() const { return {buffer_.data() + begin_, end_ - begin_}; }

  std::unique_ptr<ByteStream> stream_;
  std::vector<char> buffer_;
  size_t begin_ = 0;  // unread bytes are [begin_, end_) of buffer_
  size_t end_ = 0;
  uint64_t offset_ = 0;  // of begin_ in the stream
  uint64_t line_number_ = 0;
  uint64_t line_offset_ = 0;
  bool line_continues_ = false;
  bool cut_ = false;
};

}  // namespace ssgpt::data
