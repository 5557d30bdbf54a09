#include "report/variants.h"

#include "core/error.h"

#include <algorithm>
#include <filesystem>
#include <iterator>
#include <set>
#include <string_view>

#include <fmt/format.h>

namespace ssgpt::report {
namespace {

// Number of finished steps when it began.
int64_t first_step(const RunData& run) {
  return run.train.empty() ? run.first_step.value_or(0) : run.train.front().first_step - 1;
}

bool is_fork_of(const RunData& fork, const RunData& trunk) {
  const auto inside = [](const std::filesystem::path& path, const std::filesystem::path& directory) {
    const auto ends = std::mismatch(directory.begin(), directory.end(), path.begin(), path.end());
    return ends.first == directory.end();
  };
  if (!is_fork(fork)) return false;
  // Runs may have been moved or copied since.
  const bool is_known = !fork.lineage.empty() && fork.lineage.back().known && !trunk.run_id.empty();
  if (is_known) return fork.lineage.back().run_id == trunk.run_id;
  return inside(std::filesystem::weakly_canonical(fork.parent),
                std::filesystem::weakly_canonical(trunk.directory));
}

bool is_known(const Lineage& lineage) {
  return std::all_of(lineage.begin(), lineage.end(), [](const Ancestor& one) { return one.known; });
}

// Whether both have trained from the same beginning for equally long. Forks keep the seed of their trunk, so
// forks with other seeds have other trunks; they begin alike if they begin at the same step: how their trunks
// learnt is in their own settings.
bool same_origin(const RunData& a, const RunData& b) {
  const uint64_t seed_a = a.config.run.seed;
  const uint64_t seed_b = b.config.run.seed;
  if (begin_alike(a.lineage, seed_a, b.lineage, seed_b)) return true;
  if (!is_fork(a) || !is_fork(b) || seed_a == seed_b || first_step(a) != first_step(b)) return false;
  if (!is_known(a.lineage) || !is_known(b.lineage)) return true;
  const auto of_trunk = [](Lineage lineage) {
    if (!lineage.empty()) lineage.pop_back();
    return lineage;
  };
  return begin_alike(of_trunk(a.lineage), seed_a, of_trunk(b.lineage), seed_b);
}

// With the checksum if known: the paths may be equal.
std::string tokenizer_name(const RunData& run) {
  const std::string path = run.config.data.tokenizer ? run.config.data.tokenizer->string() : "none named";
  return run.tokenizer_fingerprint.empty() ? path
                                           : fmt::format("{}, checksum {}", path, run.tokenizer_fingerprint);
}

int64_t step_positions(const config::Config& config) {
  return config.train.global_batch_size * config.data.sequence_length;
}

// Differences between the trainings behind two runs, from the last one back; if the runs' own seeds are
// equal, those of the trainings must be, too. nullopt if they cannot be compared.
std::optional<std::vector<SettingDifference>> lineage_differences(const RunData& a, const RunData& b) {
  if (a.lineage.size() != b.lineage.size() || !is_known(a.lineage) || !is_known(b.lineage))
    return std::nullopt;
  std::vector<SettingDifference> result;
  std::string prefix;
  for (size_t i = a.lineage.size(); i-- > 0;) {
    prefix += "parent.";
    const Ancestor& one = a.lineage[i];
    const Ancestor& other = b.lineage[i];
    if (same_checkpoint(one, other)) break;
    for (SettingDifference& difference : differences(one.training, other.training)) {
      difference.material |= difference.key == "run.seed" && a.config.run.seed == b.config.run.seed;
      difference.key.insert(0, prefix);
      result.push_back(std::move(difference));
    }
    if (one.step != other.step)
      result.push_back({prefix + "step", std::to_string(one.step), std::to_string(other.step), true});
  }
  return result;
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
  return same_origin(a, b) && learn_alike(a, b);
}

std::vector<std::string> unique_labels(std::span<const Names> variants) {
  const auto is_alone = [&](const Names& one, std::string Names::*text) {
    return std::count_if(variants.begin(), variants.end(),
                         [&](const Names& other) { return other.*text == one.*text; }) == 1;
  };
  const auto all_alone = [&](std::string Names::*text) {
    return std::all_of(variants.begin(), variants.end(),
                       [&](const Names& one) { return is_alone(one, text); });
  };
  // Names for all if titles do not distinguish all: a table that mixes both is hard to read.
  const bool by_title = all_alone(&Names::title) || !all_alone(&Names::name);
  std::vector<std::string> labels;
  for (const Names& one : variants) {
    labels.push_back(by_title && is_alone(one, &Names::title) ? one.title : one.name);
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
        "{} and {} were trained with different tokenizers ({}; {}). Losses are per token, so they "
        "cannot be compared: use runs that share data.tokenizer.",
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
        {true, fmt::format("Whether {} and {} share a tokenizer is unknown: its files are not here.", a, b)});
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
         fmt::format("The runs have the same settings except for the seed: what is compared is run "
                     "against run, and their difference shows how far apart equal settings come out.")});
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
  std::vector<SettingDifference> result = differences(baseline, candidate);
  if (baseline.parent == candidate.parent) return result;
  const bool alike =
      same_origin(baseline, candidate) || is_fork_of(candidate, baseline) || is_fork_of(baseline, candidate);
  const auto behind = alike ? std::nullopt : lineage_differences(baseline, candidate);
  result.push_back({"parent", baseline.parent.empty() ? "none" : baseline.parent,
                    candidate.parent.empty() ? "none" : candidate.parent, !alike && !behind});
  if (behind) result.insert(result.end(), behind->begin(), behind->end());
  return result;
}

bool is_of_attention(const std::string& key) {
  constexpr std::string_view kBehind = "parent.";
  if (key.starts_with(kBehind)) return is_of_attention(key.substr(kBehind.size()));
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
