// prepare.json: what a folder of shards was made of, and how far the making got.
#pragma once

#include "data/prepare.h"
#include "data/shard_writer.h"

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include <nlohmann/json_fwd.hpp>

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

// Of prepare.json in bytes: it lists every input and every shard.
inline constexpr uint64_t kMaxRecordBytes = uint64_t{64} << 20;

// The settings of `options`, with sizes and times of the inputs and the checksum of the tokenizer's file.
std::string settings_of(const PrepareOptions& options, int64_t vocab_size, int32_t eos_id);

// Writes prepare.json atomically, as that of shards which are still being made.
void write_record(const std::filesystem::path& folder, const PrepareRecord& record);

// The same as that of complete shards; `counts` is an object whose members say what they hold.
void write_record(const std::filesystem::path& folder, const PrepareRecord& record,
                  const nlohmann::ordered_json& counts);

struct PrepareOutput {
  // To write into: the output itself, or a folder in it while shards that are to be replaced stand there.
  std::filesystem::path folder;
  PrepareRecord record;  // to continue from; without shards for a fresh start
};

// Throws core::UsageError where one of `inputs` stands in `output` under a name that prepare() writes or
// replaces there.
void refuse_inputs_in_output(const std::filesystem::path& output,
                             const std::vector<std::filesystem::path>& inputs);

// Makes the folder `output` ready to write into. Throws as prepare() does for a folder that holds shards.
PrepareOutput open_output(const std::filesystem::path& output, bool overwrite, const std::string& settings);

// Puts the complete shards of open_output()'s folder into `output`, in place of those that it holds; does
// nothing where the folder is `output` itself. A call that is killed in the middle is finished by the next
// open_output().
void publish_output(const std::filesystem::path& output);

// After a failure or a stop: removes what nothing can be continued from, which is a record of a folder
// without shards and, unless `may_continue`, all of a replacement.
void clean_up(const std::filesystem::path& output, const PrepareOutput& opened, bool may_continue);

// Removes what was written in place of shards that stand in `output`, which stay as they are.
void discard_replacement(const std::filesystem::path& output);

// {"documents", "tokens", "shards"}
nlohmann::ordered_json json_of(const SplitCount& count);

// {"train", "validation", "text_bytes", "left_out"}
nlohmann::ordered_json counts_of(const PrepareSummary& summary);

}  // namespace ssgpt::data
