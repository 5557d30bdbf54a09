// Which runs share the same settings, what they are called, and whether they can be compared at all.
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
  bool warning = false;  // it limits what the comparison can show
  std::string text;
};

// Runs whose settings and beginning (RunData::lineage) differ in nothing that affects what is learnt, except
// the seed.
struct Variant {
  // Unique: "SSMax", "Softmax", or the run's name if attention does not tell the variants apart.
  std::string label;
  std::vector<size_t> runs;  // indices, in the order given
};

// Throws core::UsageError if losses of `other` cannot be compared with those of `baseline` at the same step:
// because of another vocabulary or tokenizer, or another number of tokens per step. Otherwise returns what
// weakens the pairing.
std::vector<Note> check_comparable(const RunData& baseline, const RunData& other);

// Groups runs that differ only in seed, in order of first appearance. If that leaves a single group, each run
// is a variant of its own. Runs that repeat settings, beginning and seed of an earlier one are left out, with
// a note.
std::vector<Variant> group_by_settings(std::span<const RunData> runs, std::vector<Note>& notes);

// A unique short name for each run, in order: its variant's label, with the seed if a variant has several.
std::vector<std::string> label_runs(std::span<const RunData> runs, std::span<const Variant> variants);

// Differences in the config, and in where the runs began: "parent", which is immaterial if one run is a fork
// of the other, with which it shares its earlier steps, and if the trainings behind both are known, whose
// differences then follow ("parent.optimizer.lr").
std::vector<SettingDifference> setting_differences(const RunData& baseline, const RunData& candidate);

// Whether this setting concerns the attention, of the run itself or of a training behind it: its kind, the
// initial values and the learning rate of its row scale, a swap.
bool is_of_attention(const std::string& key);

// Whether attention (its kind, the initial values and the learning rate of its row scale, a swap) is all that
// differs.
bool attention_alone_differs(std::span<const SettingDifference> differences);

std::string attention_title(const config::Config& config);  // "SSMax", "Softmax -> SSMax at step 1000"

// Whether a run resumed from a checkpoint in the middle of another run; one by --init-from begins at step 0.
bool is_fork(const RunData& run);

// Whether both belong to one variant: their settings and beginnings differ in nothing that affects what is
// learnt, except the seed. Neither needs to have a loss.
bool same_variant(const RunData& a, const RunData& b);

// Possible names of a variant, shortest first.
struct Names {
  std::string title;  // attention_title
  std::string name;   // of its first run
  std::filesystem::path directory;
};

// One unique label each: titles if all are unique, else names if all of those are; else the title of each
// whose title is unique, and for the others the name or, if that is not unique either, the directory.
std::vector<std::string> unique_labels(std::span<const Names> variants);

}  // namespace ssgpt::report
