// Which runs stand for the same settings, what they are called, and whether they can be compared at all.
#pragma once

#include "report/run_data.h"
#include "report/training.h"

#include <cstddef>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace ssgpt::report {

struct Note {
  bool warning = false;  // it limits what the comparison can say
  std::string text;
};

// Runs whose settings and beginning (RunData::lineage) differ in nothing that changes what is learnt, but the
// seed.
struct Variant {
  std::string
      label;  // unique: "SSMax", "Softmax", or the run's name where attention does not tell them apart
  std::vector<size_t> runs;  // indices, in the order given
};

// Throws core::UsageError where losses of `other` cannot be set against those of `baseline` at the same step:
// another vocabulary or tokenizer, or another number of tokens a step. Otherwise returns what weakens the
// pairing.
std::vector<Note> check_comparable(const RunData& baseline, const RunData& other);

// Groups runs that differ in seed alone, in order of first appearance. Where that leaves a single group, each
// run is a variant of its own. Runs that repeat settings, beginning and seed of an earlier one are left out,
// with a note.
std::vector<Variant> group_by_settings(std::span<const RunData> runs, std::vector<Note>& notes);

// A unique short name for each run, in order: its variant's label, with the seed where a variant has several.
std::vector<std::string> label_runs(std::span<const RunData> runs, std::span<const Variant> variants);

// Of the config, and where the runs began apart: "parent", which is immaterial where one run is a fork of the
// other, which shares its steps before, and where the trainings behind both are known, whose differences then
// follow ("parent.optimizer.lr").
std::vector<SettingDifference> setting_differences(const RunData& baseline, const RunData& candidate);

// Whether this setting is one of the attention, of the run itself or of a training behind it: its kind, the
// initial values and the learning rate of its row scale, a swap.
bool is_of_attention(const std::string& key);

// True where attention (its kind, the initial values and the learning rate of its row scale, a swap) is all
// that differs.
bool attention_alone_differs(std::span<const SettingDifference> differences);

std::string attention_title(const config::Config& config);  // "SSMax", "Softmax -> SSMax at step 1000"

// Whether a run goes on from a checkpoint in the middle of another one; one by --init-from begins at step 0.
bool is_fork(const RunData& run);

// Whether both are of one variant: their settings and beginnings differ in nothing that changes what is
// learnt, but the seed. Neither needs to have a loss.
bool same_variant(const RunData& a, const RunData& b);

// What a variant may be called, from the shortest on.
struct Names {
  std::string title;  // attention_title
  std::string name;   // of its first run
  std::filesystem::path directory;
};

// One unique label each: titles where all are unique, else names where all of those are; else the title of
// each whose title is unique, and of the others the name or, where that is not unique either, the directory.
std::vector<std::string> unique_labels(std::span<const Names> variants);

}  // namespace ssgpt::report
