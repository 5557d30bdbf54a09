// The models that an evaluation is of: found from what a user names, and grouped into variants, which differ
// in seed alone. Reads the small files of the checkpoints, not their weights.
#pragma once

#include "checkpoint/checkpoint.h"
#include "report/run_data.h"

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

namespace ssgpt::evaluation {

struct Subject {
  std::string variant;
  uint64_t seed = 0;
  std::filesystem::path checkpoint;
  checkpoint::Summary summary;
  // What its trainer says of its training up to this checkpoint: the config, with the swaps of the attention
  // that were done, the beginning and the data. Without losses. None: no trainer wrote it.
  std::optional<report::RunData> run;
};

struct Subjects {
  std::vector<Subject> all;           // in the order given, those of a sweep in its order
  std::string baseline;               // a variant, or a candidate that changes make of one
  std::vector<std::string> variants;  // in order of first appearance
  std::vector<std::string> left_out;  // what of the paths is not in `all`, a sentence each
};

// Each of `paths` is a checkpoint, a Llama or Qwen 3 directory of Hugging Face, a run directory, whose newest
// complete checkpoint is taken, or the folder of a sweep, of which that of each run is; runs of it without
// one are left out. What is taken and left out is logged.
//
// Models are of one variant where they come from one variant of a sweep, or where the settings that a trainer
// stored with them, and the weights that they began from, differ in nothing that changes what is learnt, but
// the seed (report::same_variant). A swap of the attention that a checkpoint stands before is none of its
// settings. A variant has the name that the sweep gives it, where several sweeps have it with the sweep's
// folder before it; else that of its attention and of the checkpoint whose weights it began from (or how many
// these are), of its first run, or of the directory, the first that is unique (report::unique_labels). A
// model that no trainer wrote is a variant of its own with seed 0, named after its directory.
//
// `baseline`: the name of a variant, one of `paths`, the baseline of a sweep's folder, or one of the names
// that `candidates` makes of what was found. Without it the baseline of the first path.
//
// Throws core::UsageError for no path, two models of one variant and seed, the folder of a sweep over a grid,
// and a baseline that is not among them; core::InputError for what is no model or does not read, and for a
// run or a sweep without a complete checkpoint.
Subjects find_subjects(const std::vector<std::filesystem::path>& paths,
                       const std::optional<std::string>& baseline,
                       const std::function<std::vector<std::string>(const Subjects& found)>& candidates = {});

// Throws core::UsageError where the vocabularies of the models differ, or with `same_tokenizer` their
// tokenizers, as far as those are known: a loss a token says nothing across them. Returns a sentence where
// whether the tokenizers agree cannot be told; none otherwise.
std::optional<std::string> check_same_vocabulary(const Subjects& subjects, bool same_tokenizer);

}  // namespace ssgpt::evaluation
