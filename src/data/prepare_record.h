// prepare.json: what a folder of shards was made of, and how far the making got.
#pragma once

#include "data/prepare.h"
#include "data/shard_writer.h"

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace ssgpt::data {

// Where the stream of a split continues behind a shard: this document, without its first `token` tokens.
struct SplitPosition {
  int64_t document = 0;
  int64_t token = 0;
};

struct RecordedShard {
  WrittenShard shard;
  bool validation = false;
  SplitPosition next;  // behind it
};

struct PrepareRecord {
  std::string settings;  // JSON: all that the shards' bytes follow from
  std::vector<RecordedShard> shards;
};

// The settings of `options`, with sizes and times of the inputs and the checksum of the tokenizer's file.
std::string settings_of(const PrepareOptions& options, int64_t vocab_size, int32_t eos_id);

// Writes prepare.json atomically; complete with the summary, unfinished without.
void write_record(const std::filesystem::path& folder, const PrepareRecord& record,
                  const PrepareSummary* summary);

// Makes `folder` ready to write into, and returns the record to continue from, without shards for a fresh
// start. Throws as prepare() does for a folder that holds shards.
PrepareRecord open_output(const PrepareOptions& options, const std::string& settings);

}  // namespace ssgpt::data
