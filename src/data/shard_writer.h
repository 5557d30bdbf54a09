// Writes one split of a corpus as numbered token shards in llm.c's format.
#pragma once

#include "core/file.h"

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace ssgpt::data {

// A complete shard under its final name.
struct WrittenShard {
  std::string file;  // its name in the folder
  int64_t num_tokens = 0;
  std::string checksum;  // of the whole file
};

// Cuts a stream of tokens into shards of exactly `shard_tokens` (the last may be shorter),
// FOLDER/SPLIT_000000.bin and so on: uint16 if the vocabulary fits, else uint32. Each appears under its name
// once it is complete and synced.
class ShardWriter {
 public:
  // `shard_tokens`: 1 to 2^31 - 1. Shards are numbered from `first_number`. `on_shard` is called after each
  // finished shard.
  ShardWriter(std::filesystem::path folder, std::string split, int64_t vocab_size, int64_t shard_tokens,
              int first_number, std::function<void(const WrittenShard&)> on_shard);
  ~ShardWriter();  // removes an unfinished shard

  // Throws core::RunError if writing fails, for example on a full disk.
  void write(std::span<const int32_t> tokens);

  // Tokens written so far by this object.
  int64_t num_tokens() const { return num_tokens_; }

  // Completes the last shard. No writes may follow.
  void finish();

 private:
  void open_shard();
  void close_shard();

  const std::filesystem::path folder_;
  const std::string split_;
  const int64_t vocab_size_;
  const int64_t shard_tokens_;
  const int token_bytes_;
  const std::function<void(const WrittenShard&)> on_shard_;
  int number_;
  std::string name_;
  std::unique_ptr<core::AtomicFile> file_;
  std::vector<std::byte> bytes_;  // tokens of one write as bytes
  int64_t in_shard_ = 0;
  int64_t num_tokens_ = 0;
};

// Bytes per token in shards for this vocabulary: 2 for up to 65,536 ids, else 4.
int token_bytes_for(int64_t vocab_size);

}  // namespace ssgpt::data
