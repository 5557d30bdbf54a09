#include "report/variants.h"

#include "config/material.h"
#include "core/checksum.h"
#include "core/error.h"
#include "core/file.h"

#include <algorithm>
#include <filesystem>
#include <set>

#include <fmt/format.h>

namespace ssgpt::report {
namespace {

bool same_known_data(const RunData& a, const RunData& b) {
  return !a.data_fingerprint.empty() && a.data_fingerprint == b.data_fingerprint;
}

// Finished steps when it began.
int64_t first_step(const RunData& run) {
  return run.train.empty() ? run.first_step.value_or(0) : run.train.front().first_step - 1;
}

bool is_fork_of(const RunData& fork, const RunData& trunk) {
  const auto inside = [](const std::filesystem::path& path, const std::filesystem::path& directory) {
    const auto ends = std::mismatch(directory.begin(), directory.end(), path.begin(), path.end());
    return ends.first == directory.end();
  };
  return is_fork(fork) && inside(std::filesystem::weakly_canonical(fork.parent),
                                 std::filesystem::weakly_canonical(trunk.directory));
}

// Whether both have trained from the same beginning for as long. Forks keep the seed of their trunk, so those
// of other seeds have other trunks, and begin alike where they begin at the same step.
bool same_origin(const RunData& a, const RunData& b) {
  return a.parent == b.parent || (is_fork(a) && is_fork(b) && a.config.run.seed != b.config.run.seed &&
                                  first_step(a) == first_step(b));
}

// What two trainings are known to read alike, wherever it stands.
struct SharedInputs {
  bool data = false;
  bool tokenizer = false;
};

bool is_material(const config::Difference& difference, const SharedInputs& shared) {
  const std::string& key = difference.key;
  if (key == "run.name" || key == "run.seed") return false;
  if (key == "data.train" && shared.data) return false;
  if (key == "data.tokenizer" && shared.tokenizer) return false;
  return config::is_material(difference);
}

// none: cannot be told.
std::optional<bool> same_tokenizer(const RunData& a, const RunData& b) {
  if (!a.tokenizer_fingerprint.empty() &&
      !b.tokenizer_fingerprint.empty()) {  // the files may be others by now
    return a.tokenizer_fingerprint == b.tokenizer_fingerprint;
  }
  const auto& first = a.config.data.tokenizer;
  const auto& second = b.config.data.tokenizer;
  if (first == second) return true;
  if (!first || !second || !core::exists(*first) || !core::exists(*second)) return std::nullopt;
  return core::checksum_of_file(*first) == core::checksum_of_file(*second);
}

// With the checksum where it is known: the paths may be the same.
std::string tokenizer_name(const RunData& run) {
  const std::string path = run.config.data.tokenizer ? run.config.data.tokenizer->string() : "none named";
  return run.tokenizer_fingerprint.empty() ? path
                                           : fmt::format("{}, checksum {}", path, run.tokenizer_fingerprint);
}

SharedInputs shared_inputs(const RunData& a, const RunData& b) {
  return {.data = same_known_data(a, b), .tokenizer = same_tokenizer(a, b) == true};
}

int64_t step_positions(const config::Config& config) {
  return config.train.global_batch_size * config.data.sequence_length;
}

}  // namespace

bool is_fork(const RunData& run) {
  return !run.parent.empty() && run.first_step.value_or(first_step(run)) > 0;
}

std::string attention_title(const config::Config& config) {
  std::string title(config::row_of(config.model.attention.kind).title);
  for (const config::SwapAttention& swap : config.train.swap_attention)
    title += fmt::format(" -> {} at step {}", config::row_of(swap.kind).title, swap.at_step);
  return title;
}

bool same_variant(const RunData& a, const RunData& b) {
  if (!same_origin(a, b)) return false;
  const SharedInputs shared = shared_inputs(a, b);
  const std::vector<config::Difference> all = config::differences(a.config, b.config);
  return std::none_of(all.begin(), all.end(),
                      [&](const config::Difference& one) { return is_material(one, shared); });
}

std::vector<std::string> unique_labels(std::span<const Names> variants) {
  std::vector<std::string> labels;
  for (const Names& one : variants) {
    const auto alike = std::count_if(variants.begin(), variants.end(),
                                     [&](const Names& other) { return other.title == one.title; });
    labels.push_back(alike > 1 ? one.name : one.title);
  }
  for (size_t i = 0; i < labels.size(); ++i) {  // equal names as well: the directory tells them apart
    const std::string label = labels[i];
    if (std::count(labels.begin(), labels.end(), label) < 2) continue;
    for (size_t k = i; k < labels.size(); ++k) {
      if (labels[k] == label) labels[k] = variants[k].directory.string();
    }
  }
  return labels;
}

std::vector<Note> check_comparable(const RunData& baseline, const RunData& other) {
  const std::string a = baseline.directory.string();
  const std::string b = other.directory.string();
  const int64_t vocabulary = baseline.config.model.vocab_size;
  if (vocabulary != other.config.model.vocab_size) {
    throw core::UsageError(
        "{} has a vocabulary of {}, {} one of {}. Losses are per token, and another vocabulary cuts the text "
        "into other tokens: compare runs that share model.vocab_size and data.tokenizer.",
        a, vocabulary, b, other.config.model.vocab_size);
  }
  const std::optional<bool> tokenizer = same_tokenizer(baseline, other);
  if (tokenizer == false) {
    throw core::UsageError(
        "{} and {} were trained with different tokenizers ({}; {}). Losses are per token, so they cannot be "
        "set against each other: compare runs that share data.tokenizer.",
        a, b, tokenizer_name(baseline), tokenizer_name(other));
  }
  if (step_positions(baseline.config) != step_positions(other.config)) {
    throw core::UsageError(
        "A step of {} is {} {}, one of {} is {}: at the same step they have learnt from different "
        "amounts of text, so their losses cannot be paired. Compare runs whose train.global_batch_size "
        "times data.sequence_length agree.",
        a, step_positions(baseline.config),
        baseline.config.data.format == config::DataFormat::kSft ? "positions" : "tokens", b,
        step_positions(other.config));
  }
  std::vector<Note> notes;
  if (!tokenizer) {
    notes.push_back(
        {true,
         fmt::format("Whether {} and {} share a tokenizer cannot be told: its files are not here.", a, b)});
  }
  const std::string weak =
      "pairing does not cancel the noise of the data, and differences are less certain than with equal data";
  if (baseline.config.data.sequence_length != other.config.data.sequence_length) {
    notes.push_back(
        {true,
         fmt::format(
             "Sequence lengths differ ({}: {}, {}: {}): a longer context alone lowers the loss, and {}.", a,
             baseline.config.data.sequence_length, b, other.config.data.sequence_length, weak)});
  }
  const bool known = !baseline.data_fingerprint.empty() && !other.data_fingerprint.empty();
  if (known ? !same_known_data(baseline, other) : baseline.config.data.train != other.config.data.train) {
    notes.push_back({true, fmt::format("{} and {} were trained on different data: {}.", a, b, weak)});
  }
  return notes;
}

std::vector<Variant> group_by_settings(std::span<const RunData> runs, std::vector<Note>& notes) {
  std::vector<Variant> variants;
  for (size_t i = 0; i < runs.size(); ++i) {
    const auto same = std::find_if(variants.begin(), variants.end(), [&](const Variant& v) {
      return same_variant(runs[v.runs.front()], runs[i]);
    });
    if (same == variants.end()) {
      variants.push_back({"", {i}});
    } else {
      same->runs.push_back(i);
    }
  }
  if (variants.size() == 1) {
    variants.clear();
    for (size_t i = 0; i < runs.size(); ++i) variants.push_back({"", {i}});
    notes.push_back(
        {false,
         fmt::format("The runs have the same settings but for the seed: what is compared is run against run, "
                     "and their difference shows how far apart equal settings come out.")});
  }
  for (Variant& variant : variants) {
    std::set<uint64_t> seeds;
    std::vector<size_t> kept;
    for (const size_t run : variant.runs) {
      if (seeds.insert(runs[run].config.run.seed).second) {
        kept.push_back(run);
      } else {
        notes.push_back({true, fmt::format("{} repeats settings and seed of an earlier run and is left out.",
                                           runs[run].directory.string())});
      }
    }
    variant.runs = kept;
  }

  std::vector<Names> names;
  for (const Variant& variant : variants) {
    const RunData& run = runs[variant.runs.front()];
    names.push_back({attention_title(run.config), run.config.run.name, run.directory});
  }
  const std::vector<std::string> labels = unique_labels(names);
  for (size_t i = 0; i < variants.size(); ++i) variants[i].label = labels[i];
  return variants;
}

std::vector<std::string> label_runs(std::span<const RunData> runs, std::span<const Variant> variants) {
  std::vector<std::string> labels(runs.size());
  for (const Variant& variant : variants) {
    for (const size_t run : variant.runs) {
      labels[run] = variant.label;
      if (variant.runs.size() > 1) labels[run] += fmt::format(" (seed {})", runs[run].config.run.seed);
    }
  }
  return labels;
}

std::vector<SettingDifference> setting_differences(const RunData& baseline, const RunData& candidate) {
  std::vector<SettingDifference> result;
  const SharedInputs shared = shared_inputs(baseline, candidate);
  for (const config::Difference& difference : config::differences(baseline.config, candidate.config)) {
    result.push_back({difference.key, difference.before, difference.after, is_material(difference, shared)});
  }
  if (baseline.parent != candidate.parent) {
    const bool material = !same_origin(baseline, candidate) && !is_fork_of(candidate, baseline) &&
                          !is_fork_of(baseline, candidate);
    result.push_back({"parent", baseline.parent.empty() ? "none" : baseline.parent,
                      candidate.parent.empty() ? "none" : candidate.parent, material});
  }
  return result;
}

bool is_of_attention(const std::string& key) {
  return key.starts_with("model.attention") || key == "train.swap_attention" ||
         key == "optimizer.scale_lr_multiplier";
}

bool attention_alone_differs(std::span<const SettingDifference> differences) {
  bool any = false;
  for (const SettingDifference& difference : differences) {
    if (!difference.material) continue;
    if (!is_of_attention(difference.key)) return false;
    any = true;
  }
  return any;
}

}  // namespace ssgpt::report
