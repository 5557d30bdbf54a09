// Turns a synthetic task into token shards: `ssgpt prepare --synthetic`.
#pragma once

#include "data/synthetic.h"

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>

#include <nlohmann/json_fwd.hpp>

namespace ssgpt::data {

struct SyntheticOptions {
  SyntheticTask task = SyntheticTask::kCopy;
  int64_t vocab_size = 0;
  int64_t length = 0;       // tokens per sequence
  int64_t num_windows = 0;  // training sequences, at least 2
  // Held-out sequences: 0, or at least 2. Default: a twentieth of num_windows, rounded up, at least 2.
  std::optional<int64_t> validation_windows = {};
  uint64_t seed = 1;
  std::filesystem::path output;        // a folder
  int64_t shard_tokens = 100'000'000;  // at most 2^31 - 1, the largest count in the format
  bool overwrite = false;
  std::function<bool()> stop_asked = {};  // called often, so must be cheap; empty: never stop
};

struct SyntheticCount {
  int64_t windows = 0;
  int64_t tokens = 0;
  int64_t shards = 0;
};

struct SyntheticSummary {
  SyntheticCount train;
  SyntheticCount validation;
  int64_t kept_shards = 0;  // from an interrupted call that this one continued
  double seconds = 0.0;
  bool stopped = false;  // on request, before the end: the other members cover what was done until then
};

// Writes OUTPUT/train_000000.bin ..., validation_000000.bin ... and prepare.json: the settings, counts, and
// the shards with their checksums. A split is the concatenation of its sequences, with nothing between them,
// so that window w of a training with data.sequence_length = length is sequence w. A window's last target is
// the first token of the next sequence, which no model can predict; the last sequence therefore has no
// window. The training split is training_sequence(index) for the indices from 0 on, the validation split for
// those from kFirstValidationSequence on: it stays the same when the training split grows. The shards' bytes
// depend only on task, vocab_size, length, numbers of windows, seed and shard_tokens.
//
// Atomic files, continuation of interrupted calls, and refusal or overwriting of folders with shards work as
// in prepare() (data/prepare.h).
//
// Throws core::UsageError for options out of range and for a folder that holds other shards, core::RunError
// if writing fails.
SyntheticSummary prepare_synthetic(const SyntheticOptions& options);

inline constexpr int64_t kFirstValidationSequence = int64_t{1} << 40;

// {"windows", "tokens", "shards"}
nlohmann::ordered_json json_of(const SyntheticCount& count);

// What prepare.json records about the shards beside it.
struct PreparedTask {
  std::string task;  // name of the task; empty: the shards are text
  int64_t vocab_size = 0;
  int64_t length = 0;  // tokens per sequence
};

// nullopt if `folder` has no prepare.json, or an unreadable one.
std::optional<PreparedTask> read_prepared_task(const std::filesystem::path& folder);

}  // namespace ssgpt::data
