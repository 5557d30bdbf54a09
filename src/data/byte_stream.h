// The bytes of a file in order, decompressed where its name ends in .zst, with memory that does not grow with
// the file.
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

  // Fills `out` as far as there are bytes; fewer than asked only at the end. Throws core::InputError for a
  // file that cannot be read, or whose compression is damaged or cut off, with the byte of the file where
  // that shows.
  virtual size_t read(std::span<std::byte> out) = 0;

  // Bytes of the file, as it lies on disk, that were read up to now.
  virtual uint64_t file_bytes_read() const = 0;
};

// Throws core::InputError for a file that is missing, or compressed without a name that says so.
std::unique_ptr<ByteStream> open_byte_stream(const std::filesystem::path& path);

}  // namespace ssgpt::data
