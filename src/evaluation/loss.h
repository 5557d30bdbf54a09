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
  std::filesystem::path checkpoint;  // ours, or a Hugging Face directory of a Llama or Qwen 3 model
  std::vector<std::string> data;     // globs of token shards, or of example files
  config::OnLongExample on_long_example = config::OnLongExample::kStop;
  std::optional<int64_t> sequence_length;  // tokens per window; default: the checkpoint's own
  ChangeLists changes = {};                // at most one value of each, all applied to the one model
  std::optional<int64_t> max_windows;      // default: all windows
  int64_t batch_size = 8;
  Placement placement = {.device = config::Device::kAuto, .bfloat16 = false};
};

struct LossReport {
  train::WindowLoss result;
  int64_t windows = 0;
  int64_t sequence_length = 0;
  bool is_of_answers = false;     // the data are examples
  int64_t examples_left_out = 0;  // because of their length
  std::string attention;
  std::optional<int64_t> step;  // nullopt unless a trainer wrote the checkpoint
  report::ModelChanges changes;
  std::optional<report::FittedPositions> fitted;
};

// Mean cross-entropy over consecutive windows of sequence_length + 1 tokens, each starting at the last token
// of the previous one; for files with the extension of example files (data::is_named_as_examples), over their
// answers, with the checkpoint's tokenizer, as in the validation of a fine-tuning. Throws core::InputError
// for a checkpoint, a shard or examples that cannot be loaded, and core::UsageError as combine_changes and
// load_model do, and for examples if the checkpoint has no tokenizer.
LossReport evaluate_loss(const LossOptions& options);

}  // namespace ssgpt::evaluation
