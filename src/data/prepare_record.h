// prepare.json: what the shards of a folder were made from, and how much is done.
#pragma once

#include "data/prepare.h"
#include "data/shard_writer.h"

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include <nlohmann/json_fwd.hpp>

namespace ssgpt::data {

// Where a split's stream continues after a shard: at this document, without its first `token` tokens.
struct SplitPosition {
  int64_t document = 0;
  int64_t token = 0;
};

struct RecordedShard {
  WrittenShard shard;
  bool validation = false;
  SplitPosition next;  // position after it
};

struct PrepareRecord {
  std::string settings;  // JSON: everything that determines the shards' bytes
  std::vector<RecordedShard> shards;
};

// Size limit of prepare.json in bytes: it lists every input and every shard.
inline constexpr uint64_t kMaxRecordBytes = uint64_t{64} << 20;

// The settings of `options`, with sizes and times of the inputs and the checksum of the tokenizer's file.
std::string settings_of(const PrepareOptions& options, int64_t vocab_size, int32_t eos_id);

// Writes prepare.json atomically, marking the shards as unfinished.
void write_record(const std::filesystem::path& folder, const PrepareRecord& record);

// The same for complete shards; `counts` is an object whose members describe their contents.
void write_record(const std::filesystem::path& folder, const PrepareRecord& record,
                  const nlohmann::ordered_json& counts);

struct PrepareOutput {
  // Folder to write into: the output itself or, while it holds shards to be replaced, a folder inside it.
  std::filesystem::path folder;
  PrepareRecord record;  // to continue from; without shards for a fresh start
};

// Throws core::UsageError if one of `inputs` is in `output` under a name that prepare() writes or replaces.
void refuse_inputs_in_output(const std::filesystem::path& output,
                             const std::vector<std::filesystem::path>& inputs);

// Prepares the folder `output` for writing. Throws as prepare() does for a folder that holds shards.
PrepareOutput open_output(const std::filesystem::path& output, bool overwrite, const std::string& settings);

// Moves the complete shards from open_output()'s folder into `output`, replacing those that it holds; does
// nothing if the folder is `output` itself. If killed halfway, the next open_output() finishes it.
void publish_output(const std::filesystem::path& output);

// Called after a failure or a stop: removes what nothing can be continued from, which is the record of a
// folder without shards and, unless `may_continue`, the whole replacement.
void clean_up(const std::filesystem::path& output, const PrepareOutput& opened, bool may_continue);

// Removes replacements under construction; the shards in `output` stay as they are.
void discard_replacement(const std::filesystem::path& output);

// {"documents", "tokens", "shards"}
nlohmann::ordered_json json_of(const SplitCount& count);

// {"train", "validation", "text_bytes", "left_out"}
nlohmann::ordered_json counts_of(const PrepareSummary& summary);

}  // namespace ssgpt::data
