// The models that an evaluation is of: found from what a user names, and grouped into variants, which differ
// in seed alone. Reads the small files of the checkpoints, not their weights.
#pragma once

#include "checkpoint/checkpoint.h"

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace ssgpt::evaluation {

struct Subject {
  std::string variant;
  uint64_t seed = 0;
  std::filesystem::path checkpoint;
  checkpoint::Summary summary;
};

struct Subjects {
  std::vector<Subject> all;           // in the order given, those of a sweep in its order
  std::string baseline;               // a variant
  std::vector<std::string> variants;  // in order of first appearance
  std::vector<std::string> left_out;  // what of the paths is not in `all`, a sentence each
};

// Each of `paths` is a checkpoint, a Llama directory of Hugging Face, a run directory, whose newest complete
// checkpoint is taken, or the folder of a sweep, of which that of each run is; runs of it without one are
// left out. What is taken and left out is logged.
//
// Models are of one variant where they come from one variant of a sweep, or where the settings that a trainer
// stored with them differ in nothing that changes what is learnt, but the seed (report::same_settings). A
// variant has the name that the sweep gives it; else that of its attention, of its first run or its path, the
// first that is unique (report::unique_labels). A model that no trainer wrote is a variant of its own with
// seed 0, named after its directory.
//
// `baseline`: the name of a variant, or one of `paths`, the baseline of a sweep's folder. Without it the
// baseline of the first path.
//
// Throws core::UsageError for no path, two models of one variant and seed, the folder of a sweep over a grid,
// and a baseline that is not among them; core::InputError for what is no model or does not read, and for a
// run or a sweep without a complete checkpoint.
Subjects find_subjects(const std::vector<std::filesystem::path>& paths,
                       const std::optional<std::string>& baseline);

// Throws core::UsageError where the vocabularies of the models differ, or with `same_tokenizer` their
// tokenizers, as far as those are known: a loss a token says nothing across them. Returns a sentence where
// whether the tokenizers agree cannot be told; none otherwise.
std::optional<std::string> check_same_vocabulary(const Subjects& subjects, bool same_tokenizer);

}  // namespace ssgpt::evaluation
