#include "data/line_reader.h"

#include "core/text.h"

#include <algorithm>
#include <cstring>
#include <span>

namespace ssgpt::data {

namespace {

constexpr size_t kInitialBytes = size_t{1} << 18;

// Where to cut `text`, which is longer than max_bytes.
size_t cut_length(std::string_view text, size_t max_bytes) {
  const size_t blank = text.rfind(' ', max_bytes);
  if (blank != std::string_view::npos && blank > max_bytes / 2) {
    return blank;
  }
  size_t length = max_bytes;
  while (length + 4 > max_bytes && length > 1 && (static_cast<unsigned char>(text[length]) & 0xC0) == 0x80) {
    --length;
  }
  return length;
}

}  // namespace

LineReader::LineReader(const std::filesystem::path& path)
    : stream_(open_byte_stream(path)), buffer_(kInitialBytes + kPadding) {
  fill();
  if (unread().starts_with(core::kByteOrderMark)) {
    begin_ += core::kByteOrderMark.size();
    offset_ += core::kByteOrderMark.size();
  }
}

// Reads more bytes after the unread ones; returns false at the end of the stream.
bool LineReader::fill() {
  std::memmove(buffer_.data(), buffer_.data() + begin_, end_ - begin_);
  end_ -= begin_;
  begin_ = 0;
  if (end_ + kPadding == buffer_.size()) {
    buffer_.resize(2 * end_ + kPadding);
  }
  const size_t count = stream_->read(
      std::as_writable_bytes(std::span(buffer_).subspan(end_, buffer_.size() - kPadding - end_)));
  end_ += count;
  return count > 0;
}

uint64_t LineReader::file_bytes_read() const {
  const uint64_t unpacked = offset_ + (end_ - begin_);
  const double handed_out =
      static_cast<double>(offset_) / static_cast<double>(std::max<uint64_t>(unpacked, 1));
  return begin_ == end_ ? stream_->file_bytes_read()
                        : static_cast<uint64_t>(static_cast<double>(stream_->file_bytes_read()) * handed_out);
}

bool LineReader::next(std::string_view& line, size_t max_bytes) {
  size_t searched = 0;
  size_t length = 0;
  cut_ = false;
  while (true) {
    const std::string_view rest = unread();
    const size_t line_break = rest.find('\n', searched);
    if (line_break != std::string_view::npos && line_break < max_bytes) {
      length = line_break + 1;
      break;
    }
    if (rest.size() > max_bytes) {
      length = cut_length(rest, max_bytes);
      cut_ = true;
      break;
    }
    searched = rest.size();
    if (!fill()) {
      length = unread().size();
      break;
    }
  }
  if (length == 0) {
    return false;
  }
  line = unread().substr(0, length);
  line_number_ += line_continues_ ? 0 : 1;
  line_offset_ = offset_;
  line_continues_ = line.back() != '\n';
  begin_ += length;
  offset_ += length;
  return true;
}

}  // namespace ssgpt::data
