// Values of runs in, verdicts out: any figure that has one value a run (a loss, the tokens to reach one, a
// score) and is to be compared between candidates and a baseline over seeds. Where the values come from and
// how the findings are worded is the caller's.
//
// The rule. A verdict rests on the scatter between seeds alone: three pairs of runs that share their seed, or
// more, and a paired t test; without shared seeds three runs a side, or more, and Welch's test. Several
// candidates of one outcome are a family: their p values are corrected after Holm, and the verdict follows
// the corrected one. Fewer seeds carry no verdict, whatever their difference, nor do runs that are not
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

inline constexpr int64_t kFewestSeeds = 3;  // that carry a verdict

// What one run gives; NaN or infinite where it gives nothing.
struct SeedValue {
  uint64_t seed = 0;
  double value = 0.0;
};

// The runs of one candidate and of what it is compared with; at most one a seed on each side (checked).
// Where any seed is on both sides, the others are left out.
struct Sides {
  std::vector<SeedValue> candidate;
  std::vector<SeedValue> baseline;
  // A scatter between seeds below this is taken for this: values that are counts may agree by chance.
  double least_scatter = 0.0;
  // The runs of each side are independent samples of what the sides differ in (report/lineage.h). False:
  // their scatter is not that of the difference, and there is neither an error nor a verdict.
  bool independent = true;
};

enum class Method {
  kNone,           // fewer than two seeds with a value, or runs that are not independent: no error
  kSeedsPaired,    // from the scatter of the differences of runs that share a seed
  kSeedsUnpaired,  // Welch: the sides share no seed
};
std::string_view to_string(Method method);  // "none", "seeds, paired", "seeds, unpaired"

enum class Verdict { kLower, kHigher, kNone };
std::string_view to_string(Verdict verdict);  // "lower", "higher", "no verdict"

// A mean difference, candidate minus baseline, with what is known about its error.
struct Estimate {
  double mean = std::numeric_limits<double>::quiet_NaN();  // NaN: nothing was measured
  int64_t seeds = 0;                                       // pairs; unpaired: runs of the side that has fewer
  int64_t candidate_runs = 0;                              // unpaired: runs of each side
  int64_t baseline_runs = 0;
  int64_t missing = 0;  // runs, or pairs, that are left out of the mean because they have no value
  Method method = Method::kNone;
  bool independent = true;  // that of its Sides
  // Where the method is not kNone. From two seeds these are a rough guess.
  double standard_error = 0.0;
  double degrees_of_freedom = 0.0;
  double scatter = 0.0;  // of the differences of the seeds, a standard deviation; unpaired: of a run a side,
                         // the root of the mean of both variances
  // From kFewestSeeds on (tested()).
  double half_width = 0.0;              // of the 95 % interval, which knows of no other candidate
  double p = 1.0;                       // two-sided, of this test alone
  double p_corrected = 1.0;             // after Holm over `family` tests
  int64_t family = 1;                   // candidates that are tested; for one that is not, all there are
  double smallest_detectable = 0.0;     // true difference that kPower of such experiments would show
  std::optional<int64_t> seeds_needed;  // to show the difference found: see pairs_needed; from two seeds on
  bool failed = false;                  // set by the caller, where a run of it did: no verdict
  double rounding = 0.0;  // set by the caller: a mean of this size or less may be the values' own rounding

  bool tested() const { return method != Method::kNone && seeds >= kFewestSeeds; }
  double low() const { return mean - half_width; }
  double high() const { return mean + half_width; }

  // The level at which one test of the family is sure to be believed: the first of Holm's steps. What is
  // detectable, and the seeds needed, are for it.
  double level() const { return kLevel / static_cast<double>(family); }

  // Rounding is the same in every repetition, so a test takes it for an effect.
  bool may_be_rounding() const { return std::abs(mean) <= rounding; }

  // kLower or kHigher where p_corrected < kLevel; kNone otherwise, where it is not tested, where it may be
  // rounding, where a run of it has no value, and where one failed: to leave such a run out would praise the
  // seeds that survived.
  Verdict verdict() const;

  // The interval by itself lies on one side of zero, and the correction takes the verdict away.
  bool lost_to_correction() const;
};

// One estimate for each candidate, in their order. `candidates`: all of one outcome, which are a family.
std::vector<Estimate> judge(const std::vector<Sides>& candidates);

// The largest scatter (standard deviation of the differences between seeds) with which `seeds` >= 2 pairs
// show a true difference of `effect` in kPower of repetitions, at `level`.
double largest_scatter(double effect, int64_t seeds, double level);

}  // namespace ssgpt::report
