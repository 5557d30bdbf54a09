// Messages of protobuf, to make sentencepiece models byte by byte (sentencepiece_model.proto).
#pragma once

#include <cstddef>
#include <string>

namespace ssgpt::tokenizer {

inline std::string varint(size_t value) {
  std::string bytes;
  for (; value >= 0x80; value >>= 7) bytes.push_back(static_cast<char>((value & 0x7F) | 0x80));
  return bytes + static_cast<char>(value);
}

// A field of bytes, a text or a message.
inline std::string message(int field, const std::string& content) {
  return varint(static_cast<size_t>(field) << 3 | 2) + varint(content.size()) + content;
}

}  // namespace ssgpt::tokenizer
