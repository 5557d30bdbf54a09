// Loss of a checkpoint on token shards.
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
  std::filesystem::path checkpoint;        // ours, or a Llama model directory of Hugging Face
  std::vector<std::string> data;           // globs of token shards
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
  std::string attention;
  std::optional<int64_t> step;  // of a checkpoint that a trainer wrote
  report::ModelChanges changes;
  std::optional<report::FittedPositions> fitted;
};

// Mean cross-entropy over consecutive windows of sequence_length + 1 tokens, each starting at the last token
// of the one before. Throws core::InputError for a checkpoint or shard that does not load, and
// core::UsageError as combine_changes and load_model do.
LossReport evaluate_loss(const LossOptions& options);

}  // namespace ssgpt::evaluation
