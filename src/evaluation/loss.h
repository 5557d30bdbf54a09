// Loss of a checkpoint on token shards, or on the answers of examples.
#pragma once

#include "evaluation/conditions.h"
#include "evaluation/load_model.h"
#include "report/evaluation.h"
#include "train/validation.h"

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace ssgpt::evaluation {

struct LossOptions {
  std::filesystem::path checkpoint;  // ours, or a Llama or Qwen 3 directory of Hugging Face
  std::vector<std::string> data;     // globs of token shards, or of files of examples
  config::OnLongExample on_long_example = config::OnLongExample::kStop;
  std::optional<int64_t> sequence_length;  // of a window; the checkpoint's own where it is left out
  ChangeLists changes = {};                // one value of each at most, all in the one model
  std::optional<int64_t> max_windows;      // all windows where it is left out
  int64_t batch_size = 8;
  Placement placement = {.device = config::Device::kAuto, .bfloat16 = false};
};

struct LossReport {
  train::WindowLoss result;
  int64_t windows = 0;
  int64_t sequence_length = 0;
  bool is_of_answers = false;     // the data are examples
  int64_t examples_left_out = 0;  // for their length
  std::string attention;
  std::optional<int64_t> step;  // of a checkpoint that a trainer wrote
  report::ModelChanges changes;
  std::optional<report::FittedPositions> fitted;
};

// Mean cross-entropy over consecutive windows of sequence_length + 1 tokens, each starting at the last token
// of the one before; of examples, which are files of their names (data::is_named_as_examples), over their
// answers, by the tokenizer of the checkpoint, as the validation of a fine-tuning takes it. Throws
// core::InputError for a checkpoint, a shard or examples that do not load, and core::UsageError as
// combine_changes and load_model do, and for examples where the checkpoint has no tokenizer.
LossReport evaluate_loss(const LossOptions& options);

}  // namespace ssgpt::evaluation
