#include "report/curves.h"

#include "core/check.h"
#include "report/outcomes.h"

#include <algorithm>
#include <cmath>
#include <utility>

namespace ssgpt::report {
namespace {

using Curves = std::vector<const MeasuredCurve*>;

// The curves of a candidate and of the baseline: those of shared seeds, matched, or all of both.
struct Matched {
  bool paired = false;
  Curves candidate;
  Curves baseline;
};

Matched match(const Curves& candidate, const Curves& baseline) {
  Matched matched;
  for (const MeasuredCurve* one : candidate) {
    for (const MeasuredCurve* other : baseline) {
      if (one->seed != other->seed) continue;
      matched.candidate.push_back(one);
      matched.baseline.push_back(other);
    }
  }
  matched.paired = !matched.candidate.empty();
  return matched.paired ? matched : Matched{false, candidate, baseline};
}

std::vector<SeedValue> values(const Curves& curves, size_t point) {
  std::vector<SeedValue> result;
  for (const MeasuredCurve* one : curves) result.push_back({one->seed, one->points[point].mean});
  return result;
}

// For each trial, the mean over the curves.
std::vector<double> trial_means(const Curves& curves, size_t point) {
  std::vector<double> means(curves.front()->points[point].trials.size(), 0.0);
  for (const MeasuredCurve* one : curves) {
    for (size_t i = 0; i < means.size(); ++i)
      means[i] += one->points[point].trials[i] / static_cast<double>(curves.size());
  }
  return means;
}

TrialDifferences describe_trials(const std::vector<double>& differences) {
  TrialDifferences result{.trials = static_cast<int64_t>(differences.size())};
  const bool finite = std::all_of(differences.begin(), differences.end(),
                                  [](double difference) { return std::isfinite(difference); });
  if (differences.empty() || !finite) return result;
  result.mean = mean_of(differences);
  if (differences.size() < 2) return result;
  result.standard_error =
      std::sqrt(variance_of(differences, result.mean) / static_cast<double>(differences.size()));
  return result;
}

TrialDifferences trial_differences(const Curves& candidate, const Curves& baseline, size_t point) {
  std::vector<double> differences = trial_means(candidate, point);
  const std::vector<double> subtracted = trial_means(baseline, point);
  for (size_t i = 0; i < differences.size(); ++i) differences[i] -= subtracted[i];
  return describe_trials(differences);
}

// Figures that are means of fp32 values over all tokens or queries, which rounding shifts alike for all
// seeds.
bool is_fp32_mean(Figure figure) {
  return figure == Figure::kLoss || figure == Figure::kEntropy || figure == Figure::kLargestWeight ||
         figure == Figure::kFirstTokenWeight;
}

// Sides::least_scatter of an accuracy: how far the trials let the value of one seed (paired: its difference)
// scatter, that is, the root mean square over seeds of the standard error over trials, but at most one
// trial's worth. Trials that agree, or a single one, give no information on it: one answer's worth is the
// least that could have turned out differently.
double least_scatter(Figure figure, const Matched& matched, size_t point) {
  const PointValue& measured = matched.candidate.front()->points[point];
  const bool is_count = figure == Figure::kAccuracy || figure == Figure::kShareRight;
  if (!is_count || measured.tokens == 0) return 0.0;
  const double one_answer = 1.0 / static_cast<double>(measured.tokens);
  std::vector<double> squares;
  const auto add = [&](const TrialDifferences& differences) {
    if (std::isfinite(differences.standard_error))
      squares.push_back(differences.standard_error * differences.standard_error);
  };
  if (matched.paired) {
    for (size_t i = 0; i < matched.candidate.size(); ++i)
      add(trial_differences({matched.candidate[i]}, {matched.baseline[i]}, point));
  } else {
    for (const Curves* side : {&matched.candidate, &matched.baseline}) {
      for (const MeasuredCurve* one : *side) add(describe_trials(one->points[point].trials));
    }
  }
  if (squares.empty()) return one_answer;
  const double one_trial = 1.0 / static_cast<double>(measured.trials.size());
  return std::max(one_answer, std::min(one_trial, std::sqrt(mean_of(squares))));
}

Origin origin_of(const Curves& curves) {
  Origin origin{.label = curves.front()->variant, .runs = {}};
  for (const MeasuredCurve* one : curves) origin.runs.push_back(&one->lineage);
  return origin;
}

CurveCandidate describe(const Matched& matched, size_t num_points) {
  CurveCandidate candidate{
      .variant = matched.candidate.front()->variant,
      .paired = matched.paired,
      .origin = judge_independence(origin_of(matched.candidate), origin_of(matched.baseline), matched.paired),
      .seeds = static_cast<int64_t>(std::min(matched.candidate.size(), matched.baseline.size())),
      .points = {}};
  for (size_t point = 0; point < num_points; ++point) {
    PointDifference& difference = candidate.points.emplace_back();
    difference.trials = trial_differences(matched.candidate, matched.baseline, point);
    for (size_t i = 0; matched.paired && i < matched.candidate.size(); ++i) {
      const MeasuredCurve& one = *matched.candidate[i];
      difference.seeds.push_back(
          {one.seed, one.points[point].mean - matched.baseline[i]->points[point].mean});
    }
  }
  return candidate;
}

bool contains(const Curves& curves, const MeasuredCurve* one) {
  return std::find(curves.begin(), curves.end(), one) != curves.end();
}

// Mean curve of a variant: `all` its curves, of which some are `compared`.
VariantCurve mean_curve(const Curves& all, const Curves& compared) {
  VariantCurve result{.variant = all.front()->variant, .seeds = {}, .left_out = {}, .means = {}};
  for (const MeasuredCurve* one : all)
    (contains(compared, one) ? result.seeds : result.left_out).push_back(one->seed);
  for (size_t point = 0; point < all.front()->points.size(); ++point) {
    std::vector<double> means;
    for (const MeasuredCurve* one : compared) means.push_back(one->points[point].mean);
    result.means.push_back(mean_of(means));
  }
  return result;
}

// Groups by variant, in order of first appearance.
std::vector<Curves> group(std::span<const MeasuredCurve> curves) {
  std::vector<Curves> groups;
  for (const MeasuredCurve& one : curves) {
    const auto same = std::find_if(groups.begin(), groups.end(), [&](const Curves& other) {
      return other.front()->variant == one.variant;
    });
    if (same == groups.end()) {
      groups.push_back({&one});
    } else {
      same->push_back(&one);
    }
  }
  return groups;
}

void check_same_points(std::span<const MeasuredCurve> curves) {
  for (const MeasuredCurve& one : curves) {
    SSGPT_CHECK(one.points.size() == curves.front().points.size(), "{} points and {}", one.points.size(),
                curves.front().points.size());
    for (size_t i = 0; i < one.points.size(); ++i) {
      SSGPT_CHECK(one.points[i].trials.size() == curves.front().points[i].trials.size(),
                  "{} trials and {} at point {}", one.points[i].trials.size(),
                  curves.front().points[i].trials.size(), i);
    }
  }
}

}  // namespace

std::string_view key(Figure figure) {
  switch (figure) {
    case Figure::kLoss:
      return "loss";
    case Figure::kAccuracy:
      return "accuracy";
    case Figure::kShareRight:
      return "share_right";
    case Figure::kMargin:
      return "margin";
    case Figure::kEntropy:
      return "entropy";
    case Figure::kLargestWeight:
      return "largest_weight";
    case Figure::kFirstTokenWeight:
      return "first_token_weight";
  }
  SSGPT_CHECK(false, "figure {} has no name", static_cast<int>(figure));
}

std::string_view unit(Figure figure) {
  switch (figure) {
    case Figure::kLoss:
      return "nats per token";
    case Figure::kAccuracy:
      return "share of the answer's tokens";
    case Figure::kShareRight:
      return "share of the trials";
    case Figure::kMargin:
    case Figure::kEntropy:
      return "nats";
    case Figure::kLargestWeight:
    case Figure::kFirstTokenWeight:
      return "share of a query's attention";
  }
  SSGPT_CHECK(false, "figure {} has no unit", static_cast<int>(figure));
}

JudgedFigure judge_curves(Figure figure, std::span<const MeasuredCurve> curves, const std::string& baseline) {
  check_same_points(curves);
  const std::vector<Curves> variants = group(curves);
  const auto base = std::find_if(variants.begin(), variants.end(),
                                 [&](const Curves& variant) { return variant.front()->variant == baseline; });
  SSGPT_CHECK(base != variants.end(), "no variant {} among those that were measured", baseline);

  JudgedFigure result{.figure = figure, .baseline = baseline, .variants = {}, .candidates = {}};
  std::vector<Sides> family;
  Curves compared_base;
  for (const Curves& variant : variants) {
    VariantCurve& mean = result.variants.emplace_back();
    if (&variant == &*base) continue;
    const Matched matched = match(variant, *base);
    mean = mean_curve(variant, matched.candidate);
    for (const MeasuredCurve* one : matched.baseline) {
      if (!contains(compared_base, one)) compared_base.push_back(one);
    }
    result.candidates.push_back(describe(matched, mean.means.size()));
    for (size_t point = 0; point < mean.means.size(); ++point) {
      family.push_back({.candidate = values(matched.candidate, point),
                        .baseline = values(matched.baseline, point),
                        .least_scatter = least_scatter(figure, matched, point),
                        .independent = result.candidates.back().origin.independent});
    }
  }
  VariantCurve& base_mean = result.variants[static_cast<size_t>(base - variants.begin())];
  base_mean = mean_curve(*base, compared_base.empty() ? *base : compared_base);
  const std::vector<Estimate> estimates = judge(family);
  auto next = estimates.begin();
  for (CurveCandidate& candidate : result.candidates) {
    for (size_t point = 0; point < candidate.points.size(); ++point) {
      Estimate& estimate = candidate.points[point].estimate;
      estimate = *next++;
      if (is_fp32_mean(figure)) estimate.rounding = loss_rounding(base_mean.means[point]);
    }
  }
  return result;
}

}  // namespace ssgpt::report
