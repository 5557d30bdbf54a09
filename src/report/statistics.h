// The statistics of a paired comparison: Student's t and its power, Holm's correction, and the noise along an
// autocorrelated curve. How they lead to a verdict is decided in report/verdict.h.
#pragma once

#include <cstdint>
#include <limits>
#include <optional>
#include <span>
#include <vector>

namespace ssgpt::report {

// P(T <= t) for Student's t with `degrees` > 0 degrees of freedom (Boost.Math, as are all functions of t
// here).
double student_cdf(double t, double degrees);

// The t with student_cdf(t, degrees) = probability, for 0 < probability < 1.
double student_quantile(double probability, double degrees);

// P(|T| >= |t|), the p value of a two-sided test; 0 for an infinite t.
double two_sided_p(double t, double degrees);

// The share of repetitions in which a two-sided t test at `level` rejects zero if the true effect is `effect`
// of its own standard errors: P(|T'| > t(1 - level / 2)), T' of the noncentral t distribution with `degrees`
// >= 1 and noncentrality `effect` (Johnson, Kotz and Balakrishnan 1995, "Continuous univariate distributions"
// 2, chapter 31). 0 < level < 1.
double t_test_power(double effect, double degrees, double level);

inline constexpr double kLevel = 0.05;        // of a verdict: the rate of false ones if nothing differs
inline constexpr double kPower = 0.8;         // "in 4 of 5 repetitions"
inline constexpr int64_t kMostSeeds = 10000;  // upper limit of seeds_needed

// The effect, in standard errors of the estimate, that t_test_power finds with probability kPower.
double detectable_errors(double degrees, double level);

// The fewest pairs of runs, at least `fewest`, with which a paired t test at `level` shows a true difference
// of `effect` in kPower of repetitions, if the differences of the seeds have the standard deviation
// `scatter`, 0 or more. nullopt if kMostSeeds are too few, as for an effect of 0.
std::optional<int64_t> pairs_needed(double effect, double scatter, double level, int64_t fewest);

// The same for Welch's test: runs per side, if the values of the sides have these standard deviations.
std::optional<int64_t> runs_needed(double effect, double candidate_scatter, double baseline_scatter,
                                   double level, int64_t fewest);

// The p values of a family of tests, in their order, corrected so that the probability of any false rejection
// among them is at most the level: p of rank i times (n - i + 1), made monotone, at most 1 (Holm 1979, "A
// simple sequentially rejective multiple test procedure", Scandinavian Journal of Statistics 6(2)).
std::vector<double> holm_corrected(std::span<const double> p);

// The mean of one curve and the uncertainty due to its own noise. For the difference between two runs this is
// not the error of the effect of what changed between them: runs that differ in anything drift apart and stay
// apart, which a single pair cannot show.
struct CurveNoise {
  double mean = std::numeric_limits<double>::quiet_NaN();  // NaN: no points
  int64_t points = 0;
  bool known = false;           // the next five: otherwise there are too few points
  double standard_error = 0.0;  // of the mean
  double degrees_of_freedom = 0.0;
  int64_t batches = 0;
  double correlation_time = 1.0;  // in points: 1 + 2 times the sum of the autocorrelations
  bool correlated = false;        // the curve spans too few correlation times: the error is too small
};

// Fewest points along a curve for which batch_means gives an error. With fewer, five batches are too short
// and the correlation time too uncertain: with AR(1) noise, intervals from 10 to 12 points miss the mean in
// 11 to 25 % of cases, not in 5 %.
inline constexpr int64_t kFewestPoints = 20;

// The mean of `values` (weights: steps that each stands for, > 0) and its error by non-overlapping batch
// means: the series is cut into equal batches long enough for their means to be nearly independent, whose
// scatter then gives the error. 20 batches from 80 points on (between 10 and 30 is the range of Schmeiser
// 1982, "Batch size effects in the analysis of simulation output", Operations Research 30(3)), otherwise
// fewer, but at least 5, and each spans at least three correlation times of the points. These are estimated
// from the points' own autocorrelations, summed up to Sokal's automatic window (Sokal 1997, "Monte Carlo
// methods in statistical mechanics", section 3) with the correction for the mean's estimation (Wolff 2004,
// "Monte Carlo errors with less errors", Comput. Phys. Commun. 156, eq. 49). If five batches of three
// correlation times do not fit, `correlated` is set. Unknown below kFewestPoints.
CurveNoise batch_means(std::span<const double> values, std::span<const double> weights);

// The 95 % interval of a share, given `successes` in `trials` > 0 independent trials (Wilson 1927, "Probable
// inference, the law of succession, and statistical inference", JASA 22; eq. 4 of Brown, Cai and DasGupta
// 2001, Statistical Science 16(2)). Unlike the interval by the normal approximation it has a width even if
// none or all succeed, and stays within 0 and 1.
struct ShareInterval {
  double low = 0.0;
  double high = 1.0;
};
ShareInterval wilson_interval(int64_t successes, int64_t trials);

double mean_of(std::span<const double> values);                   // at least one
double variance_of(std::span<const double> values, double mean);  // unbiased; at least two

}  // namespace ssgpt::report
