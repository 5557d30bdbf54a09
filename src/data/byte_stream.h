// The bytes of a file in order, decompressed if its name ends in .zst, in constant memory.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>

namespace ssgpt::data {

class ByteStream {
 public:
  virtual ~ByteStream() = default;

  // Fills `out`, and returns the number of bytes; fewer than asked for only at the end. Throws
  // core::InputError for a file that cannot be read, or whose compressed data is damaged or truncated, naming
  // the position in the file where that shows.
  virtual size_t read(std::span<std::byte> out) = 0;

  // Number of bytes of the file, as stored on disk, that have been read so far.
  virtual uint64_t file_bytes_read() const = 0;
};

// Throws core::InputError for a file that is missing, or compressed without the matching extension.
std::unique_ptr<ByteStream> open_byte_stream(const std::filesystem::path& path);

}  // namespace ssgpt::data
