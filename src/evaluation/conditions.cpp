#include "evaluation/conditions.h"

#include "core/check.h"
#include "core/error.h"

#include <algorithm>
#include <utility>

#include <fmt/format.h>
#include <fmt/ranges.h>

namespace ssgpt::evaluation {
namespace {

config::AttentionKind kind_of(const Subject& subject) {
  return subject.summary.spec.config.attention.kind;
}

// Whether row scales and swaps are applied to this subject.
bool is_changed(const Subject& subject, const ChangeLists& changes) {
  const auto& names = changes.apply_to;
  return names.empty() || std::find(names.begin(), names.end(), subject.variant) != names.end();
}

template <typename T>
bool has_repeats(std::vector<T> values) {
  std::sort(values.begin(), values.end());
  return std::adjacent_find(values.begin(), values.end()) != values.end();
}

void check_apply_to(const Subjects& subjects, const ChangeLists& changes) {
  for (const std::string& name : changes.apply_to) {
    if (std::find(subjects.variants.begin(), subjects.variants.end(), name) != subjects.variants.end())
      continue;
    std::vector<std::string> all = subjects.variants;
    for (std::string& one : all) one = fmt::format("'{}'", one);
    throw core::UsageError("--apply-to {}: it must be one of the variants, {}.", name, fmt::join(all, ", "));
  }
  if (!changes.apply_to.empty() && changes.row_scales.empty() && changes.swaps.empty()) {
    throw core::UsageError(
        "--apply-to says which variants --row-scale and --swap-attention are applied to: give one of them "
        "with it.");
  }
}

// Another theta or YaRN would change nothing in models without RoPE. If only some have RoPE,
// notes_on_changes() names the others.
void check_rope(const Subjects& subjects, const ChangeLists& changes) {
  const bool any = std::any_of(subjects.all.begin(), subjects.all.end(), [](const Subject& subject) {
    return config::has_rope(subject.summary.spec.config);
  });
  for (const auto& [option, given] : {std::pair{"--rope-theta", !changes.rope_thetas.empty()},
                                      std::pair{"--yarn", changes.yarn_factor.has_value()}}) {
    if (any || !given) continue;
    throw core::UsageError(
        "{}: {} has no RoPE in any layer (model.nope_layers), so it would change nothing{}.", option,
        subjects.all.front().checkpoint.string(), subjects.all.size() > 1 ? "; nor has another model" : "");
  }
}

void check(const Subjects& subjects, const ChangeLists& changes) {
  for (const double theta : changes.rope_thetas) check_overrides({.rope_theta = theta});
  for (const double scale : changes.row_scales) check_overrides({.row_scale = scale});
  check_overrides({.yarn_factor = changes.yarn_factor});
  check_rope(subjects, changes);
  check_apply_to(subjects, changes);
  for (const auto& [option, repeats] : {std::pair{"--rope-theta", has_repeats(changes.rope_thetas)},
                                        std::pair{"--row-scale", has_repeats(changes.row_scales)},
                                        std::pair{"--swap-attention", has_repeats(changes.swaps)}}) {
    if (repeats) throw core::UsageError("{}: a value is listed twice; name each once.", option);
  }
  if (changes.yarn_factor && changes.rope_thetas.size() > 1) {
    throw core::UsageError("--yarn stretches the angles of one theta: give one --rope-theta with it, not {}.",
                           changes.rope_thetas.size());
  }
  const auto all_have = [&](config::AttentionKind kind) {
    return std::all_of(subjects.all.begin(), subjects.all.end(), [&](const Subject& subject) {
      return kind_of(subject) == kind || !is_changed(subject, changes);
    });
  };
  for (const config::AttentionKind kind : changes.swaps) {
    if (all_have(kind)) {
      throw core::UsageError("--swap-attention {}: every model has this attention already.",
                             config::to_string(kind));
    }
  }
  const auto is_learned = [](config::AttentionKind kind) {
    return config::has_learned_position(kind);
  };
  if (changes.extend_pn && std::none_of(changes.swaps.begin(), changes.swaps.end(), is_learned) &&
      std::none_of(subjects.all.begin(), subjects.all.end(),
                   [&](const Subject& subject) { return is_learned(kind_of(subject)); })) {
    throw core::UsageError("--extend-pn: none of the models has a learned p_n to continue.");
  }
}

// Collects the candidates of one condition, all with the same common overrides.
class Candidates {
 public:
  Candidates(const Subjects& subjects, const ChangeLists& changes, const Overrides& common)
      : subjects_(subjects), changes_(changes), common_(common) {}

  void add_unchanged() {
    for (size_t i = 0; i < subjects_.all.size(); ++i) add(i, subjects_.all[i].variant, common_);
  }

  void add_scaled(double scale) {
    Overrides overrides = common_;
    overrides.row_scale = scale;
    for (size_t i = 0; i < subjects_.all.size(); ++i) {
      if (!is_changed(subjects_.all[i], changes_)) continue;
      add(i, fmt::format("{}, row scale {}", subjects_.all[i].variant, scale), overrides);
    }
  }

  void add_swapped(config::AttentionKind kind) {
    Overrides overrides = common_;
    overrides.attention = kind;
    for (size_t i = 0; i < subjects_.all.size(); ++i) {
      const Subject& subject = subjects_.all[i];
      if (kind_of(subject) == kind || !is_changed(subject, changes_)) continue;
      add(i, fmt::format("{} -> {}, untrained", subject.variant, config::row_of(kind).title), overrides);
    }
  }

  std::vector<Candidate> take() { return std::move(candidates_); }

 private:
  void add(size_t subject, std::string variant, Overrides overrides) {
    const config::AttentionKind kind = overrides.attention.value_or(kind_of(subjects_.all[subject]));
    overrides.extend_pn = changes_.extend_pn && config::has_learned_position(kind);
    candidates_.push_back({.subject = subject, .variant = std::move(variant), .overrides = overrides});
  }

  const Subjects& subjects_;
  const ChangeLists& changes_;
  Overrides common_;
  std::vector<Candidate> candidates_;
};

}  // namespace

std::vector<Condition> make_conditions(const Subjects& subjects, const ChangeLists& changes) {
  check(subjects, changes);
  std::vector<std::optional<double>> thetas(changes.rope_thetas.begin(), changes.rope_thetas.end());
  if (thetas.empty()) thetas.emplace_back();
  std::vector<Condition> conditions;
  for (const std::optional<double>& theta : thetas) {
    Overrides common;
    common.rope_theta = theta;
    common.yarn_factor = changes.yarn_factor;
    Candidates candidates(subjects, changes, common);
    candidates.add_unchanged();
    for (const double scale : changes.row_scales) {
      if (scale != 1.0) candidates.add_scaled(scale);
    }
    for (const config::AttentionKind kind : changes.swaps) candidates.add_swapped(kind);
    conditions.push_back({.rope_theta = theta, .candidates = candidates.take()});
  }
  return conditions;
}

std::vector<std::string> candidate_names(const Condition& condition) {
  std::vector<std::string> names;
  for (const Candidate& candidate : condition.candidates) {
    if (std::find(names.begin(), names.end(), candidate.variant) == names.end())
      names.push_back(candidate.variant);
  }
  return names;
}

Overrides combine_changes(const Subject& subject, const ChangeLists& changes) {
  const auto only = [](const auto& values) {
    SSGPT_CHECK(values.size() <= 1, "{} values of one change", values.size());
    return values.empty() ? std::nullopt : std::optional(values.front());
  };
  check({.all = {subject}, .baseline = {}, .variants = {subject.variant}, .left_out = {}}, changes);
  return {.rope_theta = only(changes.rope_thetas),
          .yarn_factor = changes.yarn_factor,
          .row_scale = only(changes.row_scales),
          .attention = only(changes.swaps),
          .extend_pn = changes.extend_pn};
}

void check_candidates(const Subjects& subjects, const std::vector<Condition>& conditions,
                      int64_t sequence_length) {
  for (const Condition& condition : conditions) {
    for (const Candidate& candidate : condition.candidates) {
      const Subject& subject = subjects.all[candidate.subject];
      check_windows(subject.checkpoint, subject.summary.spec, candidate.overrides, sequence_length);
    }
  }
}

}  // namespace ssgpt::evaluation
