// The comparison of models over an axis of context: finds them, measures each under every condition, and
// judges what came out.
#pragma once

#include "data/synthetic.h"
#include "evaluation/conditions.h"
#include "evaluation/load_model.h"
#include "report/evaluation.h"

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

namespace ssgpt::evaluation {

// Told how far a comparison is. What one of them throws ends it.
struct Progress {
  // Before each model: its name, its number from 0 on, and how many there are, conditions included.
  std::function<void(const std::string& name, size_t number, size_t count)> model = {};
  // After each batch of it: how much of it is done, and of how much.
  std::function<void(int64_t done, int64_t total)> batch = {};
};

// Which models, changed how, computed where.
struct ModelOptions {
  std::vector<std::filesystem::path> paths;  // see find_subjects
  std::optional<std::string> baseline;       // see find_subjects; the name of a candidate as well
  ChangeLists changes;
  Placement placement = {.device = config::Device::kAuto, .bfloat16 = false};
};

// Tokens of a window at most, as of data.sequence_length.
inline constexpr int64_t kMaxLength = data::kMaxSyntheticLength;

struct PositionOptions {
  ModelOptions models;
  std::vector<std::string> data;       // globs of token shards
  std::optional<int64_t> max_length;   // positions; four windows of the baseline's training where left out
  std::optional<int64_t> bin;          // width; see default_bin_ends where left out
  std::optional<int64_t> max_windows;  // all where left out
  bool documents = false;              // the beginnings of documents, where otherwise consecutive windows
  int64_t batch_size = 0;              // windows at a time; 0: see PositionRequest
};

// The mean loss by position. What can be known is checked before the first model is read. Throws what
// find_subjects, check_same_vocabulary, make_conditions, check_candidates, choose_windows, load_model and
// losses_by_position throw; core::UsageError for a shard that is named twice, a max_length out of 1 to
// kMaxLength, and `documents` where no token is known to end one.
report::Evaluation compare_by_position(const PositionOptions& options, const Progress& progress);

// What attention does by position: shown by layer, and judged over all layers and heads. Throws what
// compare_by_position throws.
report::Evaluation compare_attention(const PositionOptions& options, const Progress& progress);

struct RetrievalOptions {
  ModelOptions models;
  data::SyntheticTask task = data::SyntheticTask::kCopy;
  std::vector<int64_t> lengths;  // rising; none: 1, 2, 4, 8 and 16 windows of the baseline's training
  int64_t trials = 50;           // of each length
  uint64_t seed = 1;
  int64_t batch_size = 0;  // sequences at a time; 0: see RetrievalRequest
};

// Accuracy and loss on the answers of a synthetic task. What can be known is checked before the first model
// is read. Throws what find_subjects, check_same_vocabulary, make_conditions, check_candidates, load_model
// and retrieve throw; core::UsageError for lengths that do not rise, for a length or a vocabulary for which
// the task has no sequences, and for a model whose attention ends with a document.
report::Evaluation compare_by_retrieval(const RetrievalOptions& options, const Progress& progress);

}  // namespace ssgpt::evaluation
