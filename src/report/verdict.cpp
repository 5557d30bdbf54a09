#include "report/verdict.h"

#include "core/check.h"

#include <algorithm>
#include <cmath>
#include <set>

namespace ssgpt::report {
namespace {

struct Seeds {
  std::vector<double> differences;  // of the seeds that both sides have
  std::vector<double> candidate;    // if they share none
  std::vector<double> baseline;
  bool shared = false;
  int64_t missing = 0;
};

bool has_repeats(const std::vector<SeedValue>& values) {
  std::set<uint64_t> seeds;
  return !std::all_of(values.begin(), values.end(),
                      [&](const SeedValue& one) { return seeds.insert(one.seed).second; });
}

Seeds match(const Sides& sides) {
  SSGPT_CHECK(!has_repeats(sides.candidate) && !has_repeats(sides.baseline), "a seed twice on one side");
  Seeds seeds;
  for (const SeedValue& one : sides.candidate) {
    for (const SeedValue& other : sides.baseline) {
      if (one.seed != other.seed) continue;
      seeds.shared = true;
      const double difference = one.value - other.value;
      if (std::isfinite(difference)) {
        seeds.differences.push_back(difference);
      } else {
        ++seeds.missing;
      }
    }
  }
  if (seeds.shared) return seeds;
  const auto finite = [&](const std::vector<SeedValue>& values) {
    std::vector<double> result;
    for (const SeedValue& one : values) {
      if (std::isfinite(one.value)) {
        result.push_back(one.value);
      } else {
        ++seeds.missing;
      }
    }
    return result;
  };
  seeds.candidate = finite(sides.candidate);
  seeds.baseline = finite(sides.baseline);
  return seeds;
}

// Estimates from one difference per seed.
void estimate_paired(std::span<const double> differences, double least_scatter, Estimate& estimate) {
  estimate.seeds = static_cast<int64_t>(differences.size());
  if (differences.empty()) return;
  estimate.mean = mean_of(differences);
  if (estimate.seeds < 2 || !estimate.independent) return;
  estimate.method = Method::kSeedsPaired;
  estimate.scatter = std::max(least_scatter, std::sqrt(variance_of(differences, estimate.mean)));
  estimate.standard_error = estimate.scatter / std::sqrt(static_cast<double>(estimate.seeds));
  estimate.degrees_of_freedom = static_cast<double>(estimate.seeds - 1);
}

// Estimates from the difference of the means over the runs of each side (Welch 1947, "The generalization of
// Student's problem when several different population variances are involved", Biometrika 34).
void estimate_unpaired(const Seeds& seeds, double least_scatter, Estimate& estimate) {
  estimate.candidate_runs = static_cast<int64_t>(seeds.candidate.size());
  estimate.baseline_runs = static_cast<int64_t>(seeds.baseline.size());
  estimate.seeds = std::min(estimate.candidate_runs, estimate.baseline_runs);
  if (estimate.seeds == 0) return;
  const double candidate_mean = mean_of(seeds.candidate);
  const double baseline_mean = mean_of(seeds.baseline);
  estimate.mean = candidate_mean - baseline_mean;
  if (estimate.seeds < 2 || !estimate.independent) return;
  estimate.method = Method::kSeedsUnpaired;
  const double m = static_cast<double>(seeds.candidate.size());
  const double n = static_cast<double>(seeds.baseline.size());
  const double least = least_scatter * least_scatter;
  const double candidate_variance = std::max(least, variance_of(seeds.candidate, candidate_mean));
  const double baseline_variance = std::max(least, variance_of(seeds.baseline, baseline_mean));
  const double a = candidate_variance / m;
  const double b = baseline_variance / n;
  estimate.scatter = std::sqrt(0.5 * (candidate_variance + baseline_variance));
  estimate.standard_error = std::sqrt(a + b);
  // Equal values on both sides leave no scatter to derive the degrees of freedom from.
  estimate.degrees_of_freedom =
      a + b > 0.0 ? (a + b) * (a + b) / (a * a / (m - 1.0) + b * b / (n - 1.0)) : m + n - 2.0;
}

void test(Estimate& estimate) {
  if (!estimate.tested()) return;
  const double degrees = estimate.degrees_of_freedom;
  estimate.half_width = student_quantile(1.0 - 0.5 * kLevel, degrees) * estimate.standard_error;
  // With equal differences any but zero is certain.
  estimate.p = estimate.mean == 0.0 ? 1.0 : two_sided_p(estimate.mean / estimate.standard_error, degrees);
}

void correct_family(std::vector<Estimate>& estimates) {
  std::vector<double> p;
  for (const Estimate& one : estimates) {
    if (one.tested()) p.push_back(one.p);
  }
  const std::vector<double> corrected = holm_corrected(p);
  size_t next = 0;
  for (Estimate& one : estimates) {
    one.family = static_cast<int64_t>(one.tested() ? p.size() : estimates.size());
    if (one.tested()) one.p_corrected = corrected[next++];
  }
}

void add_power(const Seeds& seeds, double least_scatter, Estimate& estimate) {
  if (estimate.method == Method::kNone) return;
  if (estimate.tested()) {
    estimate.smallest_detectable =
        estimate.standard_error * detectable_errors(estimate.degrees_of_freedom, estimate.level());
  }
  if (estimate.method == Method::kSeedsPaired) {
    estimate.seeds_needed = pairs_needed(estimate.mean, estimate.scatter, estimate.level(), kFewestSeeds);
  } else {
    const auto scatter = [&](std::span<const double> values) {
      return std::max(least_scatter, std::sqrt(variance_of(values, mean_of(values))));
    };
    estimate.seeds_needed = runs_needed(estimate.mean, scatter(seeds.candidate), scatter(seeds.baseline),
                                        estimate.level(), kFewestSeeds);
  }
}

}  // namespace

std::string_view to_string(Method method) {
  switch (method) {
    case Method::kNone:
      return "none";
    case Method::kSeedsPaired:
      return "seeds, paired";
    case Method::kSeedsUnpaired:
      return "seeds, unpaired";
  }
  return "";
}

std::string_view to_string(Verdict verdict) {
  switch (verdict) {
    case Verdict::kLower:
      return "lower";
    case Verdict::kHigher:
      return "higher";
    case Verdict::kNone:
      return "no verdict";
  }
  return "";
}

Verdict Estimate::verdict() const {
  if (!tested() || missing > 0 || failed || may_be_rounding() || !(p_corrected < kLevel)) {
    return Verdict::kNone;
  }
  return mean < 0.0 ? Verdict::kLower : Verdict::kHigher;
}

bool Estimate::lost_to_correction() const {
  return tested() && p < kLevel && !(p_corrected < kLevel);
}

std::vector<Estimate> judge(const std::vector<Sides>& candidates) {
  std::vector<Seeds> seeds;
  std::vector<Estimate> estimates;
  for (const Sides& sides : candidates) {
    const Seeds& matched = seeds.emplace_back(match(sides));
    Estimate& estimate = estimates.emplace_back();
    estimate.missing = matched.missing;
    estimate.independent = sides.independent;
    if (matched.shared) {
      estimate_paired(matched.differences, sides.least_scatter, estimate);
    } else {
      estimate_unpaired(matched, sides.least_scatter, estimate);
    }
    test(estimate);
  }
  correct_family(estimates);
  for (size_t i = 0; i < estimates.size(); ++i)
    add_power(seeds[i], candidates[i].least_scatter, estimates[i]);
  return estimates;
}

double largest_scatter(double effect, int64_t seeds, double level) {
  const double count = static_cast<double>(seeds);
  return std::abs(effect) * std::sqrt(count) / detectable_errors(count - 1.0, level);
}

}  // namespace ssgpt::report
