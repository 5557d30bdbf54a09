// The models to evaluate: found from the paths that a user names, and grouped into variants, whose models
// differ only in seed. Reads the small files of the checkpoints, not their weights.
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
  // Its trainer's record of the training up to this checkpoint: the config, with the attention swaps done so
  // far, where it began, and the data. Without losses. nullopt: no trainer wrote it.
  std::optional<report::RunData> run;
};

struct Subjects {
  std::vector<Subject> all;           // in the order given; those of a sweep in the sweep's order
  std::string baseline;               // a variant, or a candidate derived from one by changes
  std::vector<std::string> variants;  // in order of first appearance
  std::vector<std::string> left_out;  // parts of the paths that are not in `all`, one sentence each
};

// Each of `paths` is a checkpoint, a Hugging Face directory of a Llama or Qwen 3 model, a run directory,
// whose newest complete checkpoint is used, or the folder of a sweep, from which each run's is used; runs of
// a sweep without one are left out. What is used and left out is logged.
//
// Models belong to one variant if they come from one variant of a sweep, or if the settings that a trainer
// stored with them, and the weights that they began from, differ in nothing that affects what is learnt
// except the seed (report::same_variant). An attention swap that a checkpoint has not reached is not among
// its settings. A variant has the name given by its sweep, prefixed by the sweep's folder if several sweeps
// use it; otherwise the first unique one (report::unique_labels) of the name of its attention with the
// checkpoint whose weights it began from (or the number of these), the name of its first run, and the
// directory's. A model that no trainer wrote is a variant of its own with seed 0, named after its directory.
//
// `baseline`: the name of a variant, one of `paths`, the baseline of a sweep's folder, or one of the names
// that `candidates` derives from what was found. Default: the baseline of the first path.
//
// Throws core::UsageError for no path, two models with the same variant and seed, the folder of a sweep over
// a grid, and a baseline that is not found; core::InputError for a path that is not a model or cannot be
// read, and for a run or a sweep without a complete checkpoint.
Subjects find_subjects(const std::vector<std::filesystem::path>& paths,
                       const std::optional<std::string>& baseline,
                       const std::function<std::vector<std::string>(const Subjects& found)>& candidates = {});

// Throws core::UsageError if the vocabularies of the models differ or, with `same_tokenizer`, their
// tokenizers, as far as those are known: losses per token are not comparable across them. Returns a sentence
// if it is unknown whether the tokenizers agree, else nullopt.
std::optional<std::string> check_same_vocabulary(const Subjects& subjects, bool same_tokenizer);

}  // namespace ssgpt::evaluation
