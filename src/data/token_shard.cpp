// One token file: detecting its format, checking its header, reading its tokens.

#include "core/error.h"
#include "core/file.h"
#include "data/llmc_format.h"
#include "data/token_source.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstring>
#include <limits>
#include <string_view>
#include <utility>

#include <fmt/format.h>

namespace ssgpt::data {

namespace {

static_assert(std::endian::native == std::endian::little,
              "token files are little-endian and read as they are");

constexpr std::string_view kAccepted =
    "Accepted are shards that `ssgpt prepare` or llm.c wrote, nanoGPT's raw uint16 .bin, and Megatron's .bin "
    "with its .idx beside it.";
constexpr std::string_view kMegatronMagic("MMIDIDX\0\0", 9);

template <typename T>
T read_value(const core::InputFile& file, uint64_t offset) {
  T value{};
  file.read(offset, std::as_writable_bytes(std::span(&value, 1)));
  return value;
}

std::string read_head(const core::InputFile& file) {
  std::string head(static_cast<size_t>(std::min<uint64_t>(file.size(), 4096)), '\0');
  file.read(0, std::as_writable_bytes(std::span(head)));
  return head;
}

// RFC 1952, 2.3: magic, method 8, flags with the three highest bits 0, four bytes of time, extra flags (0, 2
// or 4), system (0 to 13, or 255), and then a deflate block, which is of type 0, 1 or 2. The magic alone is
// the token 35615; of files that begin with it and continue at random, one in 3 million has all of this.
bool is_gzip_header(std::string_view head) {
  if (!head.starts_with("\x1F\x8B\x08") || head.size() < 18) {  // an empty one has 10 + 8 bytes and its block
    return false;
  }
  const auto byte = [&](size_t at) {
    return static_cast<unsigned char>(head[at]);
  };
  const unsigned char flags = byte(3);
  const unsigned char extra_flags = byte(8);
  const unsigned char system = byte(9);
  const bool block_follows = flags == 0;  // no optional fields between header and data
  return (flags & 0xE0) == 0 && (extra_flags == 0 || extra_flags == 2 || extra_flags == 4) &&
         (system <= 13 || system == 255) && (!block_follows || (byte(10) >> 1 & 3) != 3);
}

// What a file that is not a shard seems to be; empty if it may be tokens.
std::string_view foreign_kind(std::string_view head) {
  constexpr std::array<std::pair<std::string_view, std::string_view>, 7> kMagics = {{
      {"\x28\xB5\x2F\xFD", "a zstd file"},
      {"PK\x03\x04", "a zip file"},
      {"\x93NUMPY", "a NumPy .npy file"},
      {kMegatronMagic, "a Megatron index: give the .bin beside it"},
      {"\x7F"
       "ELF",
       "a program"},
      {"PAR1", "a Parquet file"},
      {"BZh", "a bzip2 file"},
  }};
  if (is_gzip_header(head)) {
    return "a gzip file";
  }
  for (const auto& [magic, kind] : kMagics) {
    if (head.starts_with(magic)) {
      return kind;
    }
  }
  const auto printable = [](char c) {
    return (c >= ' ' && c < 0x7F) || c == '\n' || c == '\r' || c == '\t';
  };
  // Tokens whose bytes are all printable do occur, but not dozens in a row.
  return head.size() >= 64 && std::all_of(head.begin(), head.end(), printable) ? "text" : std::string_view();
}

// Checks the index of a Megatron .bin (megatron/core/datasets/indexed_dataset.py): magic, version, dtype
// code, number of sequences and documents, then int32 lengths and int64 byte offsets of the sequences.
// Returns bytes per token.
int check_megatron_index(const std::filesystem::path& path, const core::InputFile& tokens) {
  const core::InputFile index(path);
  if (index.size() < 34 ||
      std::string_view(read_head(index)).substr(0, kMegatronMagic.size()) != kMegatronMagic) {
    throw core::InputError("{}: not a Megatron index, but it is beside {}. {}", path.string(),
                           tokens.path().string(), kAccepted);
  }
  if (const auto version = read_value<uint64_t>(index, 9); version != 1) {
    throw core::InputError("{}: Megatron index of version {}; this program reads version 1", path.string(),
                           version);
  }
  const auto dtype = read_value<uint8_t>(index, 17);
  constexpr uint8_t kInt32 = 4, kUint16 = 8;
  if (dtype != kInt32 && dtype != kUint16) {
    throw core::InputError(
        "{}: tokens of Megatron's dtype code {}; this program reads uint16 (8) and int32 (4)", path.string(),
        dtype);
  }
  const uint64_t token_bytes = dtype == kUint16 ? 2 : 4;
  const auto num_sequences = read_value<uint64_t>(index, 18);
  const auto num_documents = read_value<uint64_t>(index, 26);
  constexpr uint64_t kHeader = 34;
  if (num_sequences > index.size() / 12 || num_documents > index.size() / 8 ||
      kHeader + 12 * num_sequences + 8 * num_documents != index.size()) {
    throw core::InputError(
        "{}: {} bytes, but {} sequences and {} documents need another size: the file is truncated",
        path.string(), index.size(), num_sequences, num_documents);
  }
  constexpr uint64_t kChunk = 64 * 1024;
  uint64_t expected_offset = 0;
  for (uint64_t first = 0; first < num_sequences; first += kChunk) {
    const auto count = static_cast<size_t>(std::min(kChunk, num_sequences - first));
    std::vector<int32_t> lengths(count);
    std::vector<int64_t> offsets(count);
    index.read(kHeader + 4 * first, std::as_writable_bytes(std::span(lengths)));
    index.read(kHeader + 4 * num_sequences + 8 * first, std::as_writable_bytes(std::span(offsets)));
    for (size_t i = 0; i < count; ++i) {
      if (lengths[i] < 0 || offsets[i] < 0 || static_cast<uint64_t>(offsets[i]) != expected_offset) {
        throw core::InputError(
            "{}: sequence {} (length {}, offset {}) does not follow the one before it: the index is corrupt, "
            "or its sequences are not in file order, which this program does not read",
            path.string(), first + i, lengths[i], offsets[i]);
      }
      expected_offset += static_cast<uint64_t>(lengths[i]) * token_bytes;
    }
  }
  if (expected_offset != tokens.size()) {
    throw core::InputError(
        "{}: {} bytes, but its index {} describes {}: the file is truncated or not of this index",
        tokens.path().string(), tokens.size(), path.string(), expected_offset);
  }
  return static_cast<int>(token_bytes);
}

template <typename Stored>
void read_tokens(const core::InputFile& file, uint64_t offset, std::span<int32_t> out) {
  constexpr size_t kChunk = 16 * 1024;
  std::array<Stored, kChunk> buffer;
  while (!out.empty()) {
    const auto part = std::span(buffer).first(std::min(kChunk, out.size()));
    file.read(offset, std::as_writable_bytes(part));
    // A uint32 above 2^31 - 1 becomes negative, which TokenSource refuses.
    std::transform(part.begin(), part.end(), out.begin(),
                   [](Stored token) { return static_cast<int32_t>(token); });
    offset += part.size_bytes();
    out = out.subspan(part.size());
  }
}

}  // namespace

std::string_view to_string(ShardFormat format) {
  switch (format) {
    case ShardFormat::kLlmc16:
      return "llm.c uint16";
    case ShardFormat::kLlmc32:
      return "llm.c uint32";
    case ShardFormat::kRaw16:
      return "raw uint16";
    case ShardFormat::kMegatron:
      return "Megatron";
  }
  return "unknown";
}

TokenShard::TokenShard(const std::filesystem::path& path) : file_(path) {
  const std::string name = path.string();
  if (file_.size() == 0) {
    throw core::InputError("{}: the file is empty. {}", name, kAccepted);
  }
  const std::string head = read_head(file_);
  int32_t magic = 0;
  std::memcpy(&magic, head.data(), std::min(head.size(), sizeof(magic)));
  if (magic == llmc::kMagic16 || magic == llmc::kMagic32) {
    format_ = magic == llmc::kMagic16 ? ShardFormat::kLlmc16 : ShardFormat::kLlmc32;
    token_bytes_ = magic == llmc::kMagic16 ? 2 : 4;
    header_bytes_ = llmc::kHeaderBytes;
    num_tokens_ = llmc::check_header(file_, token_bytes_);
    return;
  }
  std::filesystem::path index = path;
  index.replace_extension(".idx");
  if (path.extension() == ".bin" && core::exists(index)) {
    format_ = ShardFormat::kMegatron;
    token_bytes_ = check_megatron_index(index, file_);
  } else {
    const std::string_view kind = foreign_kind(head);
    if (!kind.empty() || path.extension() != ".bin") {
      throw core::InputError("{}: not a token shard{}{}. {}{}", name, kind.empty() ? "" : ", but ", kind,
                             kAccepted, kind == "text" ? " `ssgpt prepare` makes shards of text." : "");
    }
    if (file_.size() % 2 != 0) {
      throw core::InputError(
          "{}: not a token shard: no header, and {} bytes are not a whole number of uint16. {}", name,
          file_.size(), kAccepted);
    }
    format_ = ShardFormat::kRaw16;
  }
  num_tokens_ = static_cast<int64_t>(file_.size() / static_cast<uint64_t>(token_bytes_));
}

void TokenShard::read(int64_t first, std::span<int32_t> out) const {
  const uint64_t offset = header_bytes_ + static_cast<uint64_t>(first) * static_cast<uint64_t>(token_bytes_);
  if (token_bytes_ == 2) {
    read_tokens<uint16_t>(file_, offset, out);
  } else {
    read_tokens<uint32_t>(file_, offset, out);
  }
}

}  // namespace ssgpt::data
