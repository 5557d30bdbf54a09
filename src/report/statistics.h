// The statistics of a paired comparison: Student's t, and the error of the mean of an autocorrelated series.
#pragma once

#include <cstdint>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace ssgpt::report {

// P(T <= t) for Student's t with `degrees` > 0 degrees of freedom: through the regularised incomplete beta
// function (Abramowitz and Stegun, 26.7.1 and 26.5.27).
double student_cdf(double t, double degrees);

// The t with student_cdf(t, degrees) = probability, for 0 < probability < 1.
double student_quantile(double probability, double degrees);

enum class Method {
  kNone,           // too few values for an error
  kBatchMeans,     // of one pair of runs, from the scatter along the curve
  kSeedsPaired,    // from the scatter of the differences of runs that share a seed
  kSeedsUnpaired,  // Welch: seeds differ between the two sides
};
std::string_view to_string(Method method);  // "none", "batch means", ...

enum class Verdict { kLower, kHigher, kNone };
std::string_view to_string(Verdict verdict);  // "lower", "higher", "no verdict"

// A mean difference, candidate minus baseline, with what is known about its error.
struct Estimate {
  double mean = std::numeric_limits<double>::quiet_NaN();  // NaN: nothing was measured
  int64_t values = 0;                                      // points along the curve, or seeds
  bool of_seeds = false;                                   // values counts seeds
  Method method = Method::kNone;
  double standard_error = 0.0;  // this and the next three: meaningful where method is not kNone
  double degrees_of_freedom = 0.0;
  double half_width = 0.0;  // of the 95 % interval: t(0.975) standard errors
  double smallest_detectable =
      0.0;                        // true difference that 4 of 5 such experiments would show: see complete()
  int64_t batches = 0;            // kBatchMeans only, as the next two
  double correlation_time = 1.0;  // in points: 1 + 2 times the sum of the autocorrelations
  bool diverged = false;          // a run that it is of has a loss that is not finite: no verdict
  bool correlated = false;        // too few correlation times for an error: the interval is too narrow

  double low() const { return mean - half_width; }
  double high() const { return mean + half_width; }

  // kLower or kHigher where the 95 % interval lies on one side of zero; kNone otherwise, without an error,
  // where the points are too correlated for one, or where a run diverged.
  Verdict verdict() const;
};

// Fewest points along a curve for which batch_means gives an error. Below, five batches are too short and the
// correlation time too uncertain: of AR(1) noise, 10 to 12 points give false verdicts in 11 to 25 % of cases,
// not in 5 %.
inline constexpr int64_t kFewestPoints = 20;

// The mean of `values` (weights: steps that each stands for, > 0) and its error by non-overlapping batch
// means: the series is cut into equal stretches long enough for their means to be nearly independent, whose
// scatter then gives the error. 20 batches where there are 80 points or more (between 10 and 30 is the range
// of Schmeiser 1982, "Batch size effects in the analysis of simulation output", Operations Research 30(3)),
// fewer below, 5 at least, and each holds three correlation times of the points or more. These are estimated
// from the points' own autocorrelations, summed up to Sokal's automatic window (Sokal 1997, "Monte Carlo
// methods in statistical mechanics", section 3) with the correction for the mean's estimation (Wolff 2004,
// "Monte Carlo errors with less errors", Comput. Phys. Commun. 156, eq. 49). Where five batches of three
// correlation times do not fit, `correlated` is set and there is no verdict. Method kNone below
// kFewestPoints.
Estimate batch_means(std::span<const double> values, std::span<const double> weights);

// From one mean difference a seed, of runs that share it; method kNone below 2 seeds.
Estimate paired_seeds(std::span<const double> differences);

// Difference of the two sides' means over seeds (Welch 1947); method kNone below 2 seeds on either side.
Estimate unpaired_seeds(std::span<const double> candidate, std::span<const double> baseline);

}  // namespace ssgpt::report
