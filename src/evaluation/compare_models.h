// Compares models along an axis of context: finds them, measures each under every condition, and judges the
// results.
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

// Callbacks that report progress. An exception thrown by one of them ends the comparison.
struct Progress {
  // Called before each model: its name, its number from 0, and their count, conditions included.
  std::function<void(const std::string& name, size_t number, size_t count)> model = {};
  // Called after each batch of a model: the amount done, and the total.
  std::function<void(int64_t done, int64_t total)> batch = {};
};

// Which models to compare, with which changes, on which device.
struct ModelOptions {
  std::vector<std::filesystem::path> paths;  // see find_subjects
  std::optional<std::string> baseline;       // see find_subjects; may also name a candidate
  ChangeLists changes;
  Placement placement = {.device = config::Device::kAuto, .bfloat16 = false};
};

// Most tokens in a window, as for data.sequence_length.
inline constexpr int64_t kMaxLength = data::kMaxSyntheticLength;

struct PositionOptions {
  ModelOptions models;
  std::vector<std::string> data;       // globs of token shards
  std::optional<int64_t> max_length;   // in positions; default: four windows of the baseline's training
  std::optional<int64_t> bin;          // width in positions; default: see default_bin_ends
  std::optional<int64_t> max_windows;  // default: all
  bool documents = false;              // windows are the beginnings of documents instead of consecutive
  int64_t batch_size = 0;              // in windows; 0: see PositionRequest
};

// Compares the mean loss by position. Everything that can be checked is checked before the first model is
// read. Throws what find_subjects, check_same_vocabulary, make_conditions, check_candidates, choose_windows,
// load_model and losses_by_position throw; core::UsageError for a shard that is named twice, a max_length
// outside 1 to kMaxLength, and `documents` if the token that ends one is unknown.
report::Evaluation compare_by_position(const PositionOptions& options, const Progress& progress);

// Compares attention by position: reported by layer, and judged over all layers and heads. Throws what
// compare_by_position throws.
report::Evaluation compare_attention(const PositionOptions& options, const Progress& progress);

struct RetrievalOptions {
  ModelOptions models;
  data::SyntheticTask task = data::SyntheticTask::kCopy;
  std::vector<int64_t> lengths;  // ascending; empty: 1, 2, 4, 8 and 16 windows of the baseline's training
  int64_t trials = 50;           // per length
  uint64_t seed = 1;
  int64_t batch_size = 0;  // in sequences; 0: see RetrievalRequest
};

// Compares accuracy and loss on the answers of a synthetic task. Everything that can be checked is checked
// before the first model is read. Throws what find_subjects, check_same_vocabulary, make_conditions,
// check_candidates, load_model and retrieve throw; core::UsageError for lengths that are not ascending, for a
// length or a vocabulary for which the task has no sequences, and for a model with document masking.
report::Evaluation compare_by_retrieval(const RetrievalOptions& options, const Progress& progress);

}  // namespace ssgpt::evaluation
