// Token shards on disk as one long sequence of ids. Reads llm.c's two versions (magic 20240520 version 1,
// uint16; 20240801 version 7, uint32), nanoGPT's raw uint16 and Megatron's .bin/.idx. Independent of models.
#pragma once

#include "core/file.h"

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

namespace ssgpt::data {

enum class ShardFormat { kLlmc16, kLlmc32, kRaw16, kMegatron };
std::string_view to_string(ShardFormat format);

// One file of tokens, opened for reading. Offsets and counts are 64-bit.
class TokenShard {
 public:
  // Detects the format from the header, the companion .idx or, for headerless .bin files, as nanoGPT's raw
  // uint16. Throws core::InputError for a file that is missing, empty, truncated or not a shard.
  explicit TokenShard(const std::filesystem::path& path);

  const std::filesystem::path& path() const { return file_.path(); }
  ShardFormat format() const { return format_; }
  int64_t num_tokens() const { return num_tokens_; }

  // Fills `out` with the tokens from index `first` on. Throws core::InputError if the file has shrunk.
  // Thread-safe.
  void read(int64_t first, std::span<int32_t> out) const;

 private:
  core::InputFile file_;
  ShardFormat format_ = ShardFormat::kRaw16;
  uint64_t header_bytes_ = 0;
  int token_bytes_ = 2;
  int64_t num_tokens_ = 0;
};

// Checksum of the shard's token count and of a sample of its tokens: 16 stretches of 1,024, evenly spread.
std::string fingerprint(const TokenShard& shard);

// Shards in the given order as one sequence.
class TokenSource {
 public:
  TokenSource() = default;  // without shards
  explicit TokenSource(const std::vector<std::filesystem::path>& paths);

  int64_t num_tokens() const { return num_tokens_; }
  const std::vector<TokenShard>& shards() const { return shards_; }

  // Fills `out` with the tokens from `first` on, across shards. Thread-safe. Throws core::InputError if a
  // token is negative or not below vocab_size, naming the shard and the position.
  void read(int64_t first, std::span<int32_t> out, int64_t vocab_size) const;

  // Number of windows of sequence_length + 1 tokens, each starting at the last token of the previous one.
  // Throws core::InputError if there is none.
  int64_t num_windows(int64_t sequence_length) const;

  // Checksum of the sequence's contents: for each shard its token count and a sample of its bytes (not its
  // path).
  std::string fingerprint() const;

 private:
  std::vector<TokenShard> shards_;
  std::vector<int64_t> first_token_;  // of each shard, followed by the total
  int64_t num_tokens_ = 0;
};

}  // namespace ssgpt::data
