#include "evaluation/subjects.h"

#include "core/checksum.h"
#include "core/error.h"
#include "core/log.h"
#include "report/variants.h"
#include "run/directory.h"
#include "run/sweep_record.h"

#include <algorithm>
#include <map>
#include <utility>

#include <fmt/format.h>
#include <fmt/ranges.h>

namespace ssgpt::evaluation {
namespace {

namespace fs = std::filesystem;

bool same_path(const fs::path& a, const fs::path& b) {
  return fs::weakly_canonical(a) == fs::weakly_canonical(b);
}

// A directory's own name, also where a slash ends its path.
std::string own_name(const fs::path& path) {
  const fs::path name = path.has_filename() ? path.filename() : path.parent_path().filename();
  return name.empty() || name == "." || name == ".." ? path.string() : name.string();
}

// A model before its variant has a name.
struct Found {
  size_t path = 0;            // of the paths given
  std::string sweep_variant;  // empty: not of a sweep
  fs::path checkpoint;
  checkpoint::Summary summary;
  std::optional<config::Config> settings;  // none: no trainer wrote it

  uint64_t seed() const { return settings ? settings->run.seed : 0; }
};

class Finder {
 public:
  Subjects find(const std::vector<fs::path>& paths, const std::optional<std::string>& baseline) {
    if (paths.empty()) throw core::UsageError("Name one model or more with --checkpoint.");
    for (size_t i = 0; i < paths.size(); ++i) find_in(i, paths[i]);
    for (size_t i = 0; i < found_.size(); ++i) group(i);
    refuse_repeats();
    name_variants();
    for (size_t i = 0; i < found_.size(); ++i) {
      out_.all.push_back({.variant = out_.variants[group_[i]],
                          .seed = found_[i].seed(),
                          .checkpoint = found_[i].checkpoint,
                          .summary = found_[i].summary});
    }
    out_.baseline = baseline ? named_baseline(paths, *baseline) : baseline_of(0, paths[0]);
    return std::move(out_);
  }

 private:
  void add(size_t path, std::string sweep_variant, const fs::path& checkpoint) {
    Found& found = found_.emplace_back(Found{.path = path,
                                             .sweep_variant = std::move(sweep_variant),
                                             .checkpoint = checkpoint,
                                             .summary = checkpoint::read_summary(checkpoint),
                                             .settings = std::nullopt});
    if (found.summary.trainer) {
      found.settings =
          config::parse(found.summary.trainer->config, (checkpoint / "trainer/state.json").string());
      config::resolve_total_steps(*found.settings);
    }
  }

  void find_in(size_t index, const fs::path& path) {
    if (run::holds_sweep(path)) {
      find_in_sweep(index, path);
    } else if (const run::RunDirectory run(path); run.holds_run()) {
      const std::vector<run::Checkpoint> checkpoints = run.complete_checkpoints();
      if (checkpoints.empty())
        throw core::InputError("{}: this run has no complete checkpoint yet.", path.string());
      core::log::info("{}: its newest checkpoint, step {}, is evaluated.", path.string(),
                      checkpoints.back().step);
      add(index, "", checkpoints.back().directory);
    } else {
      add(index, "", path);
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
        add(index, one.variant, checkpoints.back().directory);
      }
    }
    if (found_.size() == before)
      throw core::InputError("{}: no run of this sweep has a complete checkpoint yet.", path.string());
    core::log::info("{}: the newest checkpoints of {} runs are evaluated.", path.string(),
                    found_.size() - before);
  }

  static bool same_variant(const Found& a, const Found& b) {
    if (!a.sweep_variant.empty() && a.path == b.path) return a.sweep_variant == b.sweep_variant;
    if (!a.settings && !b.settings) return same_path(a.checkpoint, b.checkpoint);
    if (!a.settings || !b.settings) return false;
    const auto known_equal = [](const std::string& one, const std::string& other) {
      return !one.empty() && one == other;
    };
    const checkpoint::TrainerState& one = *a.summary.trainer;
    const checkpoint::TrainerState& other = *b.summary.trainer;
    return report::same_settings(
        *a.settings, *b.settings,
        {.data = known_equal(one.data_fingerprint, other.data_fingerprint),
         .tokenizer = known_equal(one.tokenizer_fingerprint, other.tokenizer_fingerprint)});
  }

  // Into the variant of an earlier model like it, or into a new one.
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

  void name_variants() {
    std::vector<report::Names> names;
    for (const size_t first : firsts_) {
      const Found& one = found_[first];
      if (!one.sweep_variant.empty()) {
        names.push_back({one.sweep_variant, own_name(one.checkpoint), one.checkpoint});
      } else if (one.settings) {
        names.push_back({report::attention_title(*one.settings), one.settings->run.name, one.checkpoint});
      } else {
        names.push_back({own_name(one.checkpoint), one.checkpoint.string(), one.checkpoint});
      }
    }
    out_.variants = report::unique_labels(names);
  }

  // Of what one of the paths names.
  std::string baseline_of(size_t index, const fs::path& path) const {
    const auto sweep = sweep_baselines_.find(index);
    for (size_t i = 0; i < found_.size(); ++i) {
      if (found_[i].path != index) continue;
      if (sweep == sweep_baselines_.end() || found_[i].sweep_variant == sweep->second)
        return out_.variants[group_[i]];
    }
    throw core::UsageError(
        "No run of {}, the baseline of the sweep in {}, has a complete checkpoint yet. Name another variant "
        "with "
        "--baseline: {}.",
        sweep->second, path.string(), fmt::join(out_.variants, ", "));
  }

  std::string named_baseline(const std::vector<fs::path>& paths, const std::string& name) const {
    if (std::find(out_.variants.begin(), out_.variants.end(), name) != out_.variants.end()) return name;
    for (size_t i = 0; i < paths.size(); ++i) {
      if (same_path(paths[i], name)) return baseline_of(i, paths[i]);
    }
    throw core::UsageError("--baseline {}: it must be one of the variants, {}, or one of the paths given.",
                           name, fmt::join(out_.variants, ", "));
  }

  std::vector<Found> found_;
  std::vector<size_t> group_;                      // of each of found_
  std::vector<size_t> firsts_;                     // the first model of each group
  std::map<size_t, std::string> sweep_baselines_;  // by number of the path
  Subjects out_;
};

// none: cannot be told.
std::optional<bool> share_tokenizer(const Subject& a, const Subject& b) {
  if (!a.summary.tokenizer || !b.summary.tokenizer) return std::nullopt;
  return core::checksum_of_file(*a.summary.tokenizer) == core::checksum_of_file(*b.summary.tokenizer);
}

}  // namespace

Subjects find_subjects(const std::vector<fs::path>& paths, const std::optional<std::string>& baseline) {
  return Finder().find(paths, baseline);
}

std::optional<std::string> check_same_vocabulary(const Subjects& subjects, bool same_tokenizer) {
  const Subject& first = subjects.all.front();
  std::optional<std::string> unknown;
  for (const Subject& other : subjects.all) {
    const int64_t size = first.summary.spec.config.vocab_size;
    if (other.summary.spec.config.vocab_size != size) {
      throw core::UsageError(
          "{} has a vocabulary of {}, {} one of {}: what is measured a token cannot be set against each "
          "other.",
          first.checkpoint.string(), size, other.checkpoint.string(), other.summary.spec.config.vocab_size);
    }
    if (!same_tokenizer || &other == &first) continue;
    const std::optional<bool> same = share_tokenizer(first, other);
    if (same == false) {
      throw core::UsageError(
          "{} and {} have different tokenizers: losses a token cannot be set against each other.",
          first.checkpoint.string(), other.checkpoint.string());
    }
    const bool is_named = first.summary.tokenizer || other.summary.tokenizer;
    if (!same && is_named && !unknown)
      unknown = fmt::format("Whether {} and {} share a tokenizer cannot be told: one of them holds none.",
                            first.checkpoint.string(), other.checkpoint.string());
  }
  return unknown;
}

}  // namespace ssgpt::evaluation
