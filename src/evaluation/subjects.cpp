#include "evaluation/subjects.h"

#include "core/checksum.h"
#include "core/error.h"
#include "core/log.h"
#include "core/outputs.h"
#include "report/variants.h"
#include "run/directory.h"
#include "run/record.h"
#include "run/sweep_record.h"

#include <algorithm>
#include <map>
#include <set>
#include <utility>

#include <fmt/format.h>
#include <fmt/ranges.h>

namespace ssgpt::evaluation {
namespace {

namespace fs = std::filesystem;

// A directory's own name, even if a slash ends its path.
std::string own_name(const fs::path& path) {
  const fs::path name = path.has_filename() ? path.filename() : path.parent_path().filename();
  return name.empty() || name == "." || name == ".." ? path.string() : name.string();
}

report::RunData run_data(const fs::path& checkpoint, const checkpoint::TrainerState& trainer) {
  const fs::path state = checkpoint / "trainer/state.json";
  report::RunData data;
  data.directory = run::run_of(checkpoint);
  data.config = report::config_at(trainer.config, state.string(), trainer.step);
  data.data_fingerprint = trainer.data_fingerprint;
  data.tokenizer_fingerprint = trainer.tokenizer_fingerprint;
  if (const auto keeper = run::keeper_of(checkpoint, trainer.run_id)) {
    if (!core::is_same_path(data.directory, keeper->directory.path()))
      data.directory = keeper->directory.path();
    report::take_beginning(trainer.run_id, keeper->record.beginning, keeper->directory.record(), data);
  } else if (trainer.beginning && trainer.beginning->is_known()) {
    report::take_beginning(trainer.run_id, *trainer.beginning, state, data);
  }
  return data;
}

// "Softmax", "Softmax from another-run, step-00000200"; if the runs of the variant began from several
// checkpoints, "Softmax from 3 runs, step-00000200".
std::string title_of(const report::RunData& run, size_t num_parents) {
  const std::string title = report::attention_title(run.config);
  if (run.parent.empty() || report::is_fork(run)) return title;  // a fork's swap is in its title
  const fs::path origin = run::run_of(run.parent);
  if (num_parents > 1) return fmt::format("{} from {} runs, {}", title, num_parents, own_name(run.parent));
  if (origin == fs::path(run.parent)) return fmt::format("{} from {}", title, own_name(origin));
  return fmt::format("{} from {}, {}", title, own_name(origin), own_name(run.parent));
}

// A model before its variant has a name.
struct Found {
  size_t path = 0;            // index of its path among those given
  std::string sweep;          // name of the sweep's folder; empty: not from a sweep
  std::string sweep_variant;  // the same for its variant
  fs::path checkpoint;
  checkpoint::Summary summary;
  std::optional<report::RunData> run;  // nullopt: no trainer wrote it

  uint64_t seed() const { return run ? run->config.run.seed : 0; }
};

// Replaces labels that are still equal by the path of the variant's first checkpoint.
void make_unique(std::vector<std::string>& labels, const std::vector<fs::path>& checkpoints) {
  const std::vector<std::string> all = labels;
  for (size_t i = 0; i < labels.size(); ++i) {
    if (std::count(all.begin(), all.end(), all[i]) > 1) labels[i] = checkpoints[i].string();
  }
}

class Finder {
 public:
  Subjects find(const std::vector<fs::path>& paths, const std::optional<std::string>& baseline,
                const std::function<std::vector<std::string>(const Subjects& found)>& candidates) {
    if (paths.empty()) throw core::UsageError("Name one model or more with --checkpoint.");
    for (size_t i = 0; i < paths.size(); ++i) find_in(i, paths[i]);
    for (size_t i = 0; i < found_.size(); ++i) group(i);
    refuse_repeats();
    name_variants();
    for (size_t i = 0; i < found_.size(); ++i) {
      out_.all.push_back({.variant = out_.variants[group_[i]],
                          .seed = found_[i].seed(),
                          .checkpoint = found_[i].checkpoint,
                          .summary = found_[i].summary,
                          .run = found_[i].run});
    }
    if (baseline) {
      const std::vector<std::string> others = candidates ? candidates(out_) : std::vector<std::string>();
      out_.baseline = named_baseline(paths, *baseline, others);
    } else {
      out_.baseline = baseline_of(0, paths[0]);
    }
    return std::move(out_);
  }

 private:
  Found& add(size_t path, const fs::path& checkpoint) {
    Found& found = found_.emplace_back(Found{.path = path,
                                             .sweep = {},
                                             .sweep_variant = {},
                                             .checkpoint = checkpoint,
                                             .summary = checkpoint::read_summary(checkpoint),
                                             .run = std::nullopt});
    if (found.summary.trainer) found.run = run_data(checkpoint, *found.summary.trainer);
    return found;
  }

  void find_in(size_t index, const fs::path& path) {
    if (run::holds_sweep(path)) {
      find_in_sweep(index, path);
    } else if (const std::optional<run::Checkpoint> newest = run::newest_checkpoint(path)) {
      core::log::info("{}: its newest checkpoint, step {}, is evaluated.", path.string(), newest->step);
      add(index, newest->directory);
    } else {
      add(index, path);
    }
  }

  void find_in_sweep(size_t index, const fs::path& path) {
    const run::SweepRecord record = run::read_sweep_record(path);
    if (run::has_grid(record)) {
      throw core::UsageError(
          "{} holds a sweep over a grid, whose points differ in more than the variants: name the runs of one "
          "point.",
          path.string());
    }
    sweep_baselines_[index] = record.baseline;
    const size_t before = found_.size();
    for (const run::SweepRecord::Run& one : record.runs) {
      const run::RunDirectory run(path / one.name);
      const std::vector<run::Checkpoint> checkpoints = run.complete_checkpoints();
      if (checkpoints.empty()) {
        out_.left_out.push_back(
            fmt::format("{} has no complete checkpoint yet, and is left out.", run.path().string()));
        core::log::info("{}", out_.left_out.back());
      } else {
        Found& found = add(index, checkpoints.back().directory);
        found.sweep = own_name(path);
        found.sweep_variant = one.variant;
      }
    }
    if (found_.size() == before)
      throw core::InputError("{}: no run of this sweep has a complete checkpoint yet.", path.string());
    core::log::info("{}: the newest checkpoints of {} runs are evaluated.", path.string(),
                    found_.size() - before);
  }

  static bool same_variant(const Found& a, const Found& b) {
    if (!a.sweep_variant.empty() && a.path == b.path) return a.sweep_variant == b.sweep_variant;
    if (!a.run && !b.run) return core::is_same_path(a.checkpoint, b.checkpoint);
    // A converted model has the settings of the run that trained it, and another attention.
    return a.run && b.run && report::same_variant(*a.run, *b.run) &&
           a.summary.spec.config.attention.kind == b.summary.spec.config.attention.kind;
  }

  // Adds the model to the variant of an earlier model like it, or to a new one.
  void group(size_t index) {
    const auto like = std::find_if(firsts_.begin(), firsts_.end(),
                                   [&](size_t first) { return same_variant(found_[first], found_[index]); });
    group_.push_back(static_cast<size_t>(like - firsts_.begin()));
    if (like == firsts_.end()) firsts_.push_back(index);
  }

  void refuse_repeats() const {
    for (size_t i = 0; i < found_.size(); ++i) {
      for (size_t k = 0; k < i; ++k) {
        if (group_[i] != group_[k] || found_[i].seed() != found_[k].seed()) continue;
        throw core::UsageError(
            "{} and {} have the same settings and seed ({}): name one model of each seed of a variant.",
            found_[k].checkpoint.string(), found_[i].checkpoint.string(), found_[i].seed());
      }
    }
  }

  // Number of checkpoints that the models of this variant began from.
  size_t count_parents(size_t first) const {
    std::set<std::string> parents;
    for (size_t i = 0; i < found_.size(); ++i) {
      if (group_[i] == group_[first] && found_[i].run) parents.insert(found_[i].run->parent);
    }
    return parents.size();
  }

  void name_variants() {
    std::vector<report::Names> names;
    std::vector<fs::path> checkpoints;
    for (const size_t first : firsts_) {
      const Found& one = found_[first];
      checkpoints.push_back(one.checkpoint);
      const std::string directory = own_name(run::run_of(one.checkpoint));
      if (!one.sweep_variant.empty()) {
        names.push_back(
            {one.sweep_variant, fmt::format("{}: {}", one.sweep, one.sweep_variant), one.checkpoint});
      } else if (one.run) {
        names.push_back({title_of(*one.run, count_parents(first)), one.run->config.run.name, directory});
      } else {
        names.push_back({own_name(one.checkpoint), one.checkpoint.string(), one.checkpoint});
      }
    }
    out_.variants = report::unique_labels(names);
    make_unique(out_.variants, checkpoints);
  }

  // The variant that is the baseline of one of the paths.
  std::string baseline_of(size_t index, const fs::path& path) const {
    const auto sweep = sweep_baselines_.find(index);
    for (size_t i = 0; i < found_.size(); ++i) {
      if (found_[i].path != index) continue;
      if (sweep == sweep_baselines_.end() || found_[i].sweep_variant == sweep->second)
        return out_.variants[group_[i]];
    }
    throw core::UsageError(
        "No run of {}, the baseline of the sweep in {}, has a complete checkpoint yet. Name another variant "
        "with --baseline: {}.",
        sweep->second, path.string(), fmt::join(out_.variants, ", "));
  }

  std::string named_baseline(const std::vector<fs::path>& paths, const std::string& name,
                             const std::vector<std::string>& candidates) const {
    for (const auto* names : {&out_.variants, &candidates}) {
      if (std::find(names->begin(), names->end(), name) != names->end()) return name;
    }
    for (size_t i = 0; i < paths.size(); ++i) {
      if (core::is_same_path(paths[i], name)) return baseline_of(i, paths[i]);
    }
    std::vector<std::string> all = candidates.empty() ? out_.variants : candidates;
    for (std::string& one : all) one = fmt::format("'{}'", one);
    throw core::UsageError("--baseline {}: it must be one of {}, or one of the paths given.", name,
                           fmt::join(all, ", "));
  }

  std::vector<Found> found_;
  std::vector<size_t> group_;                      // of each of found_
  std::vector<size_t> firsts_;                     // the first model of each group
  std::map<size_t, std::string> sweep_baselines_;  // by index of the path
  Subjects out_;
};

// nullopt: unknown.
std::optional<bool> share_tokenizer(const Subject& a, const Subject& b) {
  if (!a.summary.tokenizer || !b.summary.tokenizer) return std::nullopt;
  return core::checksum_of_file(*a.summary.tokenizer) == core::checksum_of_file(*b.summary.tokenizer);
}

}  // namespace

Subjects find_subjects(const std::vector<fs::path>& paths, const std::optional<std::string>& baseline,
                       const std::function<std::vector<std::string>(const Subjects& found)>& candidates) {
  return Finder().find(paths, baseline, candidates);
}

std::optional<std::string> check_same_vocabulary(const Subjects& subjects, bool same_tokenizer) {
  const Subject& first = subjects.all.front();
  std::optional<std::string> unknown;
  for (const Subject& other : subjects.all) {
    const int64_t size = first.summary.spec.config.vocab_size;
    if (other.summary.spec.config.vocab_size != size) {
      throw core::UsageError(
          "{} has a vocabulary of {}, {} one of {}: figures per token of different vocabularies cannot be "
          "compared.",
          first.checkpoint.string(), size, other.checkpoint.string(), other.summary.spec.config.vocab_size);
    }
    if (!same_tokenizer || &other == &first) continue;
    const std::optional<bool> same = share_tokenizer(first, other);
    if (same == false) {
      throw core::UsageError(
          "{} and {} have different tokenizers: losses per token cannot be compared across them.",
          first.checkpoint.string(), other.checkpoint.string());
    }
    const bool is_named = first.summary.tokenizer || other.summary.tokenizer;
    if (!same && is_named && !unknown)
      unknown = fmt::format("Whether {} and {} share a tokenizer is unknown: one of them has none.",
                            first.checkpoint.string(), other.checkpoint.string());
  }
  return unknown;
}

}  // namespace ssgpt::evaluation
