// The comparison of models by how they find a needle in a haystack, by length and depth.
#pragma once

#include "evaluation/compare_models.h"
#include "evaluation/needle_prompts.h"

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace ssgpt::evaluation {

struct NeedleOptions {
  ModelOptions models;
  std::vector<std::string> data;  // globs of token shards, of the tokenizer of the models
  NeedleSettings settings;        // no lengths: 1, 2, 4 and 8 windows of the baseline's training
  bool attention = false;         // also the attention on the needle
  int64_t batch_size = 0;         // trials at a time; 0: see NeedleRequest
  std::optional<std::filesystem::path> trials_out;  // see compare_by_needle
};

// The share of right answers and the margin, at each length all depths in order. What can be known, every
// trial included, is checked before the first model is read.
//
// `trials_out`: a file of one JSON object a line for each trial of each model, which appears whole when all
// are measured: `condition`, `variant`, `seed`, `checkpoint`, `length`, `depth`, `trial`, `city`, `answer`
// (the number), `generated` (text), `generated_tokens`, `correct`, `leading_digits`, `margin`,
// `log_probability`, `distractors` (wrong numbers), `wrong_log_probabilities`, `needle_first_token` and
// `needle_tokens` (where it stands in the prompt), `haystack_tokens`, `prompt_tokens` (all ids of the
// prompt), and with `attention` the weight of each head on the needle, a list of lists by layer. null where
// the logits are not finite.
//
// Throws what find_subjects, check_same_vocabulary, make_conditions, check_candidates, Haystack,
// NeedlePrompts, load_model and find_needles throw; core::UsageError for a shard that is named twice, where
// no model has a tokenizer, for models whose attention ends with different tokens, and for `trials_out` that
// is a file of `data`, lies under one of the paths of the models, or is a directory; core::RunError where the
// file cannot be written.
report::Evaluation compare_by_needle(const NeedleOptions& options, const Progress& progress);

}  // namespace ssgpt::evaluation
