// From the values of runs to verdicts: for any figure that has one value per run (a loss, the tokens to reach
// one, a score) and is to be compared between candidates and a baseline over seeds. Independent of where the
// values come from and how the findings are worded.
//
// The rule. A verdict rests on the scatter between seeds alone: at least three pairs of runs that share their
// seed, and a paired t test; without shared seeds at least three runs per side, and Welch's test. The
// candidates of one outcome are a family: their p values are Holm-corrected, and the verdict follows the
// corrected one. Fewer seeds never give a verdict, whatever their difference, nor do runs that are not
// independent.
#pragma once

#include "report/statistics.h"

#include <cmath>
#include <cstdint>
#include <limits>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

namespace ssgpt::report {

inline constexpr int64_t kFewestSeeds = 3;  // fewest seeds for a verdict

// The value of one run; NaN or infinite if it has none.
struct SeedValue {
  uint64_t seed = 0;
  double value = 0.0;
};

// The runs of one candidate and of what it is compared with; at most one per seed on each side (checked). If
// any seed is on both sides, the others are left out.
struct Sides {
  std::vector<SeedValue> candidate;
  std::vector<SeedValue> baseline;
  // Lower bound on the scatter between seeds: values that are counts may agree by chance.
  double least_scatter = 0.0;
  // The runs of each side are independent samples of what the sides differ in (report/lineage.h). False:
  // their scatter is not that of the difference, and there is neither an error nor a verdict.
  bool independent = true;
};

enum class Method {
  kNone,           // fewer than two seeds with a value, or runs that are not independent: no error
  kSeedsPaired,    // from the scatter of the differences of runs with the same seed
  kSeedsUnpaired,  // Welch: the sides share no seed
};
std::string_view to_string(Method method);  // "none", "seeds, paired", "seeds, unpaired"

enum class Verdict { kLower, kHigher, kNone };
std::string_view to_string(Verdict verdict);  // "lower", "higher", "no verdict"

// A mean difference, candidate minus baseline, with what is known about its error.
struct Estimate {
  double mean = std::numeric_limits<double>::quiet_NaN();  // NaN: nothing was measured
  int64_t seeds = 0;                                       // pairs; unpaired: runs of the smaller side
  int64_t candidate_runs = 0;                              // unpaired: runs of each side
  int64_t baseline_runs = 0;
  int64_t missing = 0;  // runs, or pairs, left out of the mean because they have no value
  Method method = Method::kNone;
  bool independent = true;  // as in its Sides
  // If the method is not kNone. From two seeds these are a rough guess.
  double standard_error = 0.0;
  double degrees_of_freedom = 0.0;
  // Standard deviation of the differences of the seeds; unpaired: of one side's runs, the root of the mean of
  // both variances.
  double scatter = 0.0;
  // From kFewestSeeds on (tested()).
  double half_width = 0.0;              // of the 95 % interval, which ignores the other candidates
  double p = 1.0;                       // two-sided, of this test alone
  double p_corrected = 1.0;             // Holm-corrected over `family` tests
  int64_t family = 1;                   // tested candidates; for an untested one, all candidates
  double smallest_detectable = 0.0;     // true difference that kPower of such experiments would show
  std::optional<int64_t> seeds_needed;  // to show the difference found: see pairs_needed; from two seeds on
  bool failed = false;                  // set by the caller if one of its runs failed: no verdict
  double rounding = 0.0;  // set by the caller: a mean up to this size may be the values' own rounding

  bool tested() const { return method != Method::kNone && seeds >= kFewestSeeds; }
  double low() const { return mean - half_width; }
  double high() const { return mean + half_width; }

  // The level at which one test of the family is certain to be significant: the first of Holm's steps.
  // smallest_detectable and seeds_needed are for this level.
  double level() const { return kLevel / static_cast<double>(family); }

  // Rounding is the same in every repetition, so a test would take it for an effect.
  bool may_be_rounding() const { return std::abs(mean) <= rounding; }

  // kLower or kHigher if p_corrected < kLevel; kNone otherwise, and if it is untested, may be rounding, has a
  // run without a value, or has a failed run: leaving such a run out would favour the seeds that survived.
  Verdict verdict() const;

  // Whether the interval by itself lies on one side of zero, and the correction cancels the verdict.
  bool lost_to_correction() const;
};

// One estimate for each candidate, in their order. `candidates`: all of one outcome, which are a family.
std::vector<Estimate> judge(const std::vector<Sides>& candidates);

// The largest scatter (standard deviation of the differences between seeds) with which `seeds` >= 2 pairs
// show a true difference of `effect` in kPower of repetitions, at `level`.
double largest_scatter(double effect, int64_t seeds, double level);

}  // namespace ssgpt::report
