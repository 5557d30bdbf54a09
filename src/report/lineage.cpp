#include "report/lineage.h"

#include "core/check.h"
#include "report/verdict.h"
#include "run/directory.h"

#include <algorithm>
#include <cstddef>
#include <utility>

#include <fmt/format.h>

namespace ssgpt::report {
namespace {

using Runs = std::vector<const Lineage*>;

bool has_level(const Lineage& lineage, size_t level) {
  return level < lineage.size();
}

// Runs that are compared with each other: the pairs, or every run of one side with every run of the other.
std::vector<std::pair<const Lineage*, const Lineage*>> matches(const Runs& a, const Runs& b, bool paired) {
  std::vector<std::pair<const Lineage*, const Lineage*>> result;
  for (size_t i = 0; i < a.size(); ++i) {
    for (size_t k = 0; k < b.size(); ++k) {
      if (!paired || i == k) result.emplace_back(a[i], b[k]);
    }
  }
  return result;
}

// The number of initial trainings that all compared runs have in common.
size_t shared_levels(const Runs& a, const Runs& b, bool paired) {
  const auto all = matches(a, b, paired);
  size_t level = 0;
  const auto is_shared = [&](const auto& match) {
    return has_level(*match.first, level) && has_level(*match.second, level) &&
           same_checkpoint((*match.first)[level], (*match.second)[level]);
  };
  while (!all.empty() && std::all_of(all.begin(), all.end(), is_shared)) ++level;
  return level;
}

// Whether both have this training, and all before it.
bool share(const Lineage& a, const Lineage& b, size_t level) {
  return has_level(a, level) && has_level(b, level) &&
         std::equal(a.begin(), a.begin() + static_cast<std::ptrdiff_t>(level) + 1, b.begin(), same_training);
}

// Number of distinct trainings of the runs at this level. A run that has none counts as one of its own.
size_t count_trainings(const Runs& runs, size_t level) {
  Runs found;
  for (const Lineage* one : runs) {
    if (std::none_of(found.begin(), found.end(),
                     [&](const Lineage* other) { return share(*one, *other, level); }))
      found.push_back(one);
  }
  return found.size();
}

// "the 3 runs of SSMax began from 1"; empty if each run has its own.
std::string shared_text(const Origin& side, size_t level) {
  const size_t trainings = count_trainings(side.runs, level);
  if (trainings == side.runs.size()) return "";
  return fmt::format("the {} runs of {} began from {}", side.runs.size(), side.label, trainings);
}

std::string reason(const Origin& candidate, const Origin& baseline, size_t level) {
  const std::string first = shared_text(candidate, level);
  const std::string second = shared_text(baseline, level);
  return fmt::format(
      "{} and {} did not begin from the same trained models, and their runs are not independent samples "
      "of those: {}{}{}. Their seeds show how far the training since then scatters, but not how far "
      "such models do. A verdict needs {} trained models or more on each side, and one run from each.",
      candidate.label, baseline.label, first, first.empty() || second.empty() ? "" : ", ", second,
      kFewestSeeds);
}

// The checkpoints for which a verdict holds, if both sides share the first `levels` trainings.
std::string limits(const Origin& candidate, const Origin& baseline, size_t levels) {
  Runs all = candidate.runs;
  all.insert(all.end(), baseline.runs.begin(), baseline.runs.end());
  const auto is_sampled = [&](size_t level) {
    return count_trainings(all, level) >= std::min(candidate.runs.size(), baseline.runs.size());
  };
  while (levels > 0 && is_sampled(levels - 1)) --levels;
  if (levels == 0) return "";
  const size_t level = levels - 1;
  const size_t trainings = count_trainings(all, level);
  if (trainings > 1) {
    return fmt::format(
        "The runs of {} and {} began from {} trained models that both share: a verdict holds for these "
        "checkpoints, and says nothing about others.",
        candidate.label, baseline.label, trainings);
  }
  return fmt::format(
      "All runs of {} and {} began from the same checkpoint, {}: a verdict holds for that checkpoint, "
      "and says nothing about others.",
      candidate.label, baseline.label, (*all.front())[level].checkpoint.string());
}

}  // namespace

bool same_checkpoint(const Ancestor& a, const Ancestor& b) {
  if (a.known && b.known && !a.run_id.empty()) return a.run_id == b.run_id && a.step == b.step;
  return a.checkpoint == b.checkpoint;
}

bool same_training(const Ancestor& a, const Ancestor& b) {
  if (!a.known || !b.known) return run::run_of(a.checkpoint) == run::run_of(b.checkpoint);
  if (!a.run_id.empty() && a.run_id == b.run_id) return true;
  return a.training.config.run.seed == b.training.config.run.seed && learn_alike(a.training, b.training);
}

bool begin_alike(const Lineage& a, uint64_t seed_a, const Lineage& b, uint64_t seed_b) {
  if (a.size() != b.size()) return false;
  const auto is_alike = [&](const Ancestor& one, const Ancestor& other) {
    if (same_checkpoint(one, other)) return true;
    const uint64_t seed = one.training.config.run.seed;
    return seed_a != seed_b && one.known && other.known && seed != other.training.config.run.seed &&
           one.step == other.step && learn_alike(one.training, other.training);
  };
  return std::equal(a.begin(), a.end(), b.begin(), is_alike);
}

Independence judge_independence(const Origin& candidate, const Origin& baseline, bool paired) {
  SSGPT_CHECK(!paired || candidate.runs.size() == baseline.runs.size(), "{} runs are no pairs of {}",
              candidate.runs.size(), baseline.runs.size());
  const size_t level = shared_levels(candidate.runs, baseline.runs, paired);
  const auto began_apart = [&](const Origin& side) {
    return std::any_of(side.runs.begin(), side.runs.end(),
                       [&](const Lineage* one) { return has_level(*one, level); });
  };
  const auto are_samples = [&](const Origin& side) {
    return count_trainings(side.runs, level) == side.runs.size();
  };
  const bool differ = began_apart(candidate) || began_apart(baseline);
  if (differ && !(are_samples(candidate) && are_samples(baseline)))
    return {.independent = false, .note = reason(candidate, baseline, level)};
  return {.independent = true, .note = limits(candidate, baseline, level)};
}

}  // namespace ssgpt::report
