// manifest.json: name, size and checksum of every file of a checkpoint. It is written last, so a directory
// that has one is complete.
#pragma once

#include "core/checksum.h"
#include "core/file.h"
#include "run/directory.h"

#include <cstdint>
#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace ssgpt::checkpoint {

inline constexpr int64_t kFormatVersion = 1;
using run::kManifestName;

struct FileDigest {
  uint64_t size = 0;     // bytes
  std::string checksum;  // core/checksum.h
};

// An atomic file that is hashed as it is written.
class DigestedFile {
 public:
  explicit DigestedFile(const std::filesystem::path& path) : file_(path) {}
  void write(std::span<const std::byte> bytes);
  FileDigest commit();

 private:
  core::AtomicFile file_;
  core::Checksum checksum_;
};

FileDigest write_digested(const std::filesystem::path& path, std::string_view text);

struct Manifest {
  std::map<std::string, FileDigest> files;  // by path relative to the checkpoint
};

void write_manifest(const std::filesystem::path& directory, const Manifest& manifest);

// Throws core::InputError where the file is missing, damaged (any byte), or of a format version that this
// program does not know.
Manifest read_manifest(const std::filesystem::path& directory);

// The differences between the files and the manifest, one line each. Without `checksums` only sizes are
// compared.
std::vector<std::string> compare_with_manifest(const std::filesystem::path& directory,
                                               const Manifest& manifest, bool checksums);

}  // namespace ssgpt::checkpoint
