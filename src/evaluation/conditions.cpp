#include "evaluation/conditions.h"

#include "core/error.h"

#include <algorithm>
#include <cmath>
#include <string_view>
#include <utility>

#include <fmt/format.h>

namespace ssgpt::evaluation {
namespace {

config::AttentionKind kind_of(const Subject& subject) {
  return subject.summary.spec.config.attention.kind;
}

void check_positive(std::string_view option, double value) {
  if (!std::isfinite(value) || value <= 0.0)
    throw core::UsageError("{} {}: it must be a finite number above 0.", option, value);
}

template <typename T>
bool has_repeats(std::vector<T> values) {
  std::sort(values.begin(), values.end());
  return std::adjacent_find(values.begin(), values.end()) != values.end();
}

void check(const Subjects& subjects, const ChangeLists& changes) {
  for (const double theta : changes.rope_thetas) check_positive("--rope-theta", theta);
  for (const double scale : changes.row_scales) check_positive("--row-scale", scale);
  if (changes.yarn_factor && !(std::isfinite(*changes.yarn_factor) && *changes.yarn_factor >= 1.0))
    throw core::UsageError("--yarn {}: it must be a finite number of 1 or more.", *changes.yarn_factor);
  for (const auto& [option, repeats] : {std::pair{"--rope-theta", has_repeats(changes.rope_thetas)},
                                        std::pair{"--row-scale", has_repeats(changes.row_scales)},
                                        std::pair{"--swap-attention", has_repeats(changes.swaps)}}) {
    if (repeats) throw core::UsageError("{}: a value stands in the list twice; name each once.", option);
  }
  if (changes.yarn_factor && changes.rope_thetas.size() > 1) {
    throw core::UsageError("--yarn stretches the angles of one theta: give one --rope-theta with it, not {}.",
                           changes.rope_thetas.size());
  }
  const auto all_have = [&](config::AttentionKind kind) {
    return std::all_of(subjects.all.begin(), subjects.all.end(),
                       [kind](const Subject& subject) { return kind_of(subject) == kind; });
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

// The candidates of one condition, from what holds for all of them.
class Tasks {
 public:
  Tasks(const Subjects& subjects, Overrides common, bool extend_pn)
      : subjects_(subjects), common_(common), extend_pn_(extend_pn) {}

  void add_unchanged() {
    for (size_t i = 0; i < subjects_.all.size(); ++i) add(i, subjects_.all[i].variant, common_);
  }

  void add_scaled(double scale) {
    Overrides overrides = common_;
    overrides.row_scale = scale;
    for (size_t i = 0; i < subjects_.all.size(); ++i)
      add(i, fmt::format("{}, row scale {}", subjects_.all[i].variant, scale), overrides);
  }

  void add_swapped(config::AttentionKind kind) {
    Overrides overrides = common_;
    overrides.attention = kind;
    for (size_t i = 0; i < subjects_.all.size(); ++i) {
      const Subject& subject = subjects_.all[i];
      if (kind_of(subject) == kind) continue;
      add(i, fmt::format("{} -> {}, untrained", subject.variant, config::row_of(kind).title), overrides);
    }
  }

  std::vector<Task> take() { return std::move(tasks_); }

 private:
  void add(size_t subject, std::string variant, Overrides overrides) {
    const config::AttentionKind kind = overrides.attention.value_or(kind_of(subjects_.all[subject]));
    overrides.extend_pn = extend_pn_ && config::has_learned_position(kind);
    tasks_.push_back({.subject = subject, .variant = std::move(variant), .overrides = overrides});
  }

  const Subjects& subjects_;
  Overrides common_;
  bool extend_pn_;
  std::vector<Task> tasks_;
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
    Tasks tasks(subjects, common, changes.extend_pn);
    tasks.add_unchanged();
    for (const double scale : changes.row_scales) {
      if (scale != 1.0) tasks.add_scaled(scale);
    }
    for (const config::AttentionKind kind : changes.swaps) tasks.add_swapped(kind);
    conditions.push_back({.rope_theta = theta, .tasks = tasks.take()});
  }
  return conditions;
}

}  // namespace ssgpt::evaluation
