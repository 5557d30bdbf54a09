// The safetensors format (huggingface.co/docs/safetensors): 8 bytes little-endian header length N, N bytes of
// JSON that map each name to {dtype, shape, data_offsets}, then the data, without holes. Knows no models.
#pragma once

#include "checkpoint/manifest.h"
#include "core/file.h"

#include <cstdint>
#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace ssgpt::checkpoint {

// A dense row-major fp32 tensor to be written; the values stay the caller's.
struct TensorToWrite {
  std::string name;
  std::vector<int64_t> shape;
  std::span<const float> values;
};

// Writes the tensors in the given order, with {"format": "pt"} and `metadata` in the header, atomically. The
// data start at a multiple of 64 bytes. Enters no OpenMP region. Throws core::RunError.
FileDigest write_safetensors(const std::filesystem::path& path, std::span<const TensorToWrite> tensors,
                             const std::map<std::string, std::string>& metadata);

struct TensorEntry {
  std::string name;
  std::string dtype;  // as the format names it: "F32", "BF16" ...
  std::vector<int64_t> shape;
  uint64_t begin = 0;  // bytes from the start of the data
  uint64_t end = 0;
  int64_t numel() const;
};

// A file opened for reading, its header checked: names unique, known dtypes, sizes that fit the shapes,
// ranges that cover the data without overlap or hole. Every fault is a core::InputError that names the file.
class SafetensorsFile {
 public:
  explicit SafetensorsFile(const std::filesystem::path& path);

  const std::filesystem::path& path() const { return file_.path(); }
  const std::vector<TensorEntry>& entries() const { return entries_; }  // in the order of the data
  const std::map<std::string, std::string>& metadata() const { return metadata_; }
  const TensorEntry* find(std::string_view name) const;  // null where there is none

  // Throws core::InputError where the dtype is not F32, BF16 or F16.
  void check_readable(const TensorEntry& entry) const;

  // Fills `out` (entry.numel() values). Throws core::InputError as check_readable does.
  void read(const TensorEntry& entry, std::span<float> out) const;

 private:
  void parse_header(std::string_view header);
  void check_coverage() const;

  core::InputFile file_;
  uint64_t data_start_ = 0;
  std::vector<TensorEntry> entries_;
  std::map<std::string, std::string> metadata_;
};

}  // namespace ssgpt::checkpoint
