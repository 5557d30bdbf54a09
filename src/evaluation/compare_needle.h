// Compares how well models find a needle in a haystack, by length and depth.
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
  std::vector<std::string> data;  // globs of token shards made with the models' tokenizer
  NeedleSettings settings;        // without lengths: 1, 2, 4 and 8 windows of the baseline's training
  bool attention = false;         // also measure the attention on the needle
  int64_t batch_size = 0;         // in trials; 0: see NeedleRequest
  std::optional<std::filesystem::path> trials_out;  // see compare_by_needle
};

// Compares the share of right answers and the margin; points are ordered by length, then depth. Everything
// that can be checked, including every trial, is checked before the first model is read.
//
// `trials_out`: a file with one JSON object per line for each trial of each model, which appears complete
// when everything is measured: `condition`, `variant`, `seed`, `checkpoint`, `length`, `depth`, `trial`,
// `city`, `answer` (the number), `generated` (text), `generated_tokens`, `correct`, `leading_digits`,
// `margin`, `log_probability`, `distractors` (wrong numbers), `wrong_log_probabilities`, `needle_first_token`
// and `needle_tokens` (its place in the prompt), `haystack_tokens`, `prompt_tokens` (all ids of the prompt),
// and with `attention` the weight of each head on the needle, a list of lists by layer. Values from logits
// that are not finite are null.
//
// Throws what find_subjects, check_same_vocabulary, make_conditions, check_candidates, Haystack,
// NeedlePrompts, load_model and find_needles throw; core::UsageError for a shard that is named twice, if no
// model has a tokenizer, for models whose document masking uses different tokens, and if `trials_out` is a
// file of `data`, lies under one of the models' paths, or is a directory; core::RunError if the file cannot
// be written.
report::Evaluation compare_by_needle(const NeedleOptions& options, const Progress& progress);

}  // namespace ssgpt::evaluation
