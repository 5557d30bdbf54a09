#include "report/statistics.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <random>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

namespace ssgpt::report {
namespace {

// Published tables of Student's t to three decimals (Fisher and Yates); 1 and 2 degrees have closed forms.
TEST(StudentT, QuantilesMatchTables) {
  EXPECT_NEAR(student_quantile(0.975, 1), std::tan(M_PI * 0.475), 1e-9);
  EXPECT_NEAR(student_quantile(0.975, 2), 0.95 / std::sqrt(2 * 0.975 * 0.025), 1e-9);
  EXPECT_NEAR(student_quantile(0.975, 4), 2.776, 5e-4);
  EXPECT_NEAR(student_quantile(0.975, 9), 2.262, 5e-4);
  EXPECT_NEAR(student_quantile(0.975, 19), 2.093, 5e-4);
  EXPECT_NEAR(student_quantile(0.80, 19), 0.861, 5e-4);
  EXPECT_NEAR(student_quantile(0.995, 30), 2.750, 5e-4);
  EXPECT_NEAR(student_quantile(0.025, 19), -2.093, 5e-4);
  EXPECT_NEAR(student_quantile(0.975, 1e6), 1.960, 5e-4);
  EXPECT_NEAR(student_quantile(0.5, 7), 0.0, 1e-9);
}

// The critical values of the same tables are those of the two-sided p.
TEST(StudentT, TwoSidedPMatchesTables) {
  EXPECT_NEAR(two_sided_p(2.776, 4), 0.05, 5e-5);
  EXPECT_NEAR(two_sided_p(-3.169, 10), 0.01, 5e-5);
  EXPECT_EQ(two_sided_p(0.0, 5), 1.0);
  EXPECT_EQ(two_sided_p(std::numeric_limits<double>::infinity(), 5), 0.0);
}

TEST(StudentT, CdfOfOneDegreeIsCauchys) {
  for (const double t : {-20.0, -1.0, 0.0, 0.3, 5.0})
    EXPECT_NEAR(student_cdf(t, 1), 0.5 + std::atan(t) / M_PI, 1e-12);
}

std::vector<double> ones(size_t count) {
  return std::vector<double>(count, 1.0);
}

// x_t = mean + phi (x_{t-1} - mean) + e_t, begun in its stationary law, of standard deviation 1.
std::vector<double> ar1(std::mt19937_64& random, size_t count, double phi, double mean) {
  std::normal_distribution<double> normal;
  std::vector<double> values;
  double x = normal(random);
  for (size_t i = 0; i < count; ++i) {
    values.push_back(mean + x);
    x = phi * x + std::sqrt(1 - phi * phi) * normal(random);
  }
  return values;
}

struct Tally {
  double covered = 0;  // share of the repetitions whose interval holds the true mean
  double lower = 0;    // or lies below zero, or above
  double higher = 0;
};

// The half width of the interval from one curve's noise, if it were taken for a verdict.
double half_width(const CurveNoise& noise) {
  return noise.known ? student_quantile(0.975, noise.degrees_of_freedom) * noise.standard_error : 0.0;
}
double low(const CurveNoise& noise) {
  return noise.mean - half_width(noise);
}
double high(const CurveNoise& noise) {
  return noise.mean + half_width(noise);
}
bool usable(const CurveNoise& noise) {
  return noise.known && !noise.correlated;
}

Tally repeat(size_t count, double phi, double mean, int repetitions, uint64_t seed) {
  std::mt19937_64 random(seed);
  Tally tally;
  for (int i = 0; i < repetitions; ++i) {
    const CurveNoise noise = batch_means(ar1(random, count, phi, mean), ones(count));
    tally.covered += low(noise) <= mean && mean <= high(noise);
    tally.lower += usable(noise) && high(noise) < 0.0;
    tally.higher += usable(noise) && low(noise) > 0.0;
  }
  tally.covered /= repetitions;
  tally.lower /= repetitions;
  tally.higher /= repetitions;
  return tally;
}

constexpr int kRepetitions = 4000;
// Three standard deviations of a binomial share at 95 % over kRepetitions: 1.03 points.
const double kBinomial = 3 * std::sqrt(0.95 * 0.05 / kRepetitions);

TEST(BatchMeans, IntervalsCoverTheTruthAtTheNominalRateWithoutCorrelation) {
  for (const size_t count : {size_t{20}, size_t{40}, size_t{400}}) {
    EXPECT_NEAR(repeat(count, 0.0, -0.3, kRepetitions, count).covered, 0.95, kBinomial) << count << " points";
  }
}

// Batches of 20 points of an AR(1) of phi 0.5 still correlate by (phi / (1 - phi)^2) / (20 (1 + phi) / (1 -
// phi)) = 0.033, which makes the error about 3 % too small and costs 0.6 points of coverage; 2.5 points cover
// that and phi 0.8 at 1,000 points.
TEST(BatchMeans, IntervalsCoverTheTruthNearTheNominalRateWithCorrelation) {
  EXPECT_NEAR(repeat(400, 0.5, 0.2, kRepetitions, 1).covered, 0.95, kBinomial + 0.015);
  EXPECT_NEAR(repeat(1000, 0.8, 0.2, kRepetitions, 2).covered, 0.95, kBinomial + 0.015);
  EXPECT_NEAR(repeat(400, -0.5, 0.2, kRepetitions, 3).covered, 0.95, kBinomial + 0.015);
}

// The purpose of the batches: the plain error of independent values covers far less.
TEST(BatchMeans, ThePlainErrorOfIndependentValuesWouldBeTooSmall) {
  std::mt19937_64 random(4);
  int covered = 0;
  for (int i = 0; i < kRepetitions; ++i) {
    const std::vector<double> values = ar1(random, 400, 0.5, 0.0);
    double sum = 0;
    double square = 0;
    for (const double v : values) sum += v, square += v * v;
    const double mean = sum / 400;
    covered += std::abs(mean) < 1.966 * std::sqrt((square / 400 - mean * mean) / 399);
  }
  EXPECT_LT(static_cast<double>(covered) / kRepetitions, 0.80);
}

TEST(BatchMeans, IntervalsExcludeAMeanOfZeroAtTheNominalRate) {
  const Tally tally = repeat(400, 0.3, 0.0, kRepetitions, 5);
  EXPECT_NEAR(tally.lower, 0.025, 3 * std::sqrt(0.025 * 0.975 / kRepetitions) + 0.005);
  EXPECT_NEAR(tally.higher, 0.025, 3 * std::sqrt(0.025 * 0.975 / kRepetitions) + 0.005);
}

TEST(BatchMeans, AKnownDifferenceIsFound) {
  // The mean of 400 values of phi 0.3 has a standard deviation of sqrt(1.3 / 0.7 / 400) = 0.068: 0.5 is 7 of
  // them.
  const Tally tally = repeat(400, 0.3, -0.5, 500, 6);
  EXPECT_EQ(tally.lower, 1.0);
}

TEST(BatchMeans, TheSmallestDetectableDifferenceIsFoundInFourOfFiveRepetitions) {
  // For 20 independent batches of 20 values each, the true error is 1 / sqrt(400) = 0.05.
  const Tally tally = repeat(400, 0.0, -0.05 * detectable_errors(19, 0.05), kRepetitions, 7);
  EXPECT_NEAR(tally.lower, 0.80, 3 * std::sqrt(0.8 * 0.2 / kRepetitions));
}

TEST(BatchMeans, EqualsTheFormulaByHand) {
  // 20 points in 5 batches of 4: means 1.5, 3.5, 2, 6, 4.
  const std::vector<double> values = {0, 3, 0, 3, 2, 5, 2, 5, 0, 4, 0, 4, 9, 3, 8, 4, 6, 2, 6, 2};
  const CurveNoise noise = batch_means(values, ones(20));
  // Neighbours are unlike: the sum of their products is below zero.
  EXPECT_EQ(noise.correlation_time, 1.0);
  EXPECT_TRUE(noise.known);
  EXPECT_EQ(noise.batches, 5);
  EXPECT_DOUBLE_EQ(noise.mean, 3.4);
  const double variance = (1.9 * 1.9 + 0.1 * 0.1 + 1.4 * 1.4 + 2.6 * 2.6 + 0.6 * 0.6) / 4;
  EXPECT_NEAR(noise.standard_error, std::sqrt(variance / 5), 1e-12);
  EXPECT_NEAR(half_width(noise), 2.7764451 * std::sqrt(variance / 5), 1e-6);
}

TEST(BatchMeans, WeighsPointsByTheirSteps) {
  std::vector<double> values(12, 1.0);
  std::vector<double> weights(12, 10.0);
  values[3] = 5.0;
  weights[3] = 30.0;
  EXPECT_DOUBLE_EQ(batch_means(values, weights).mean, (11 * 10.0 + 5.0 * 30.0) / 140.0);
}

TEST(BatchMeans, TooFewPointsGiveAMeanWithoutAnError) {
  const std::vector<double> values(19, -1.0);
  const CurveNoise noise = batch_means(values, ones(19));
  EXPECT_EQ(noise.mean, -1.0);
  EXPECT_FALSE(noise.known);
  EXPECT_TRUE(std::isnan(batch_means({}, {}).mean));
}

// A true mean of zero behind noise whose correlation falls by e over `time` points: 5 % of intervals miss it
// by design, and where the window is too short to tell, that is said. The estimated correlation time is
// itself uncertain, which costs up to a point more.
TEST(BatchMeans, CorrelatedNoiseExcludesAMeanOfZeroNoMoreOftenThanTheLevel) {
  for (const size_t count : {size_t{20}, size_t{60}, size_t{300}}) {
    for (const int time : {0, 1, 2, 5, 20}) {
      const double phi = time == 0 ? 0.0 : std::exp(-1.0 / time);
      const Tally tally = repeat(count, phi, 0.0, kRepetitions, 100 * count + static_cast<size_t>(time));
      EXPECT_LE(tally.lower + tally.higher, 0.05 + kBinomial + 0.01) << count << " points, time " << time;
    }
  }
}

// Twelve points of AR(1) noise cannot tell their own correlation time: they would be wrong in up to a quarter
// of cases.
TEST(BatchMeans, ADozenPointsNeverGiveAnError) {
  for (const size_t count : {size_t{10}, size_t{12}, size_t{19}}) {
    const Tally tally = repeat(count, std::exp(-0.5), -100.0, 100, count);
    EXPECT_EQ(tally.lower + tally.higher, 0.0) << count << " points";
  }
}

TEST(BatchMeans, WhiteNoiseIsNotTakenForCorrelated) {
  // 60 points: the error is 0.13, and 1.0 is over seven of these.
  EXPECT_GT(repeat(60, 0.0, -1.0, 1000, 9).lower, 0.98);
}

// 60 points of correlation time 20 are three times that.
TEST(BatchMeans, AWindowOfFewCorrelationTimesMostlySaysSo) {
  std::mt19937_64 random(10);
  int correlated = 0;
  for (int i = 0; i < 500; ++i)
    correlated += batch_means(ar1(random, 60, std::exp(-1.0 / 20), 0.0), ones(60)).correlated;
  EXPECT_GT(correlated, 450);
}

TEST(BatchMeans, ALinearDriftIsSaidToBeCorrelated) {
  for (const size_t count : {size_t{60}, size_t{300}}) {
    std::mt19937_64 random(8);
    std::vector<double> values = ar1(random, count, 0.0, 2.0);
    for (size_t i = 0; i < count; ++i) values[i] += 8.0 * static_cast<double>(i) / static_cast<double>(count);
    const CurveNoise drifting = batch_means(values, ones(count));
    EXPECT_TRUE(drifting.correlated) << count;
    EXPECT_GT(low(drifting), 0.0) << count;  // by its interval alone it would not be zero
    EXPECT_EQ(drifting.batches, 5) << count;
  }
}

// By the definition of the noncentral t, (Z + effect) / sqrt(chi2 / degrees), integrated with scipy 1.17's
// quad over the chi distribution: chi.pdf(x) (norm.sf(c x / sqrt(degrees) - effect) + norm.cdf(-c x /
// sqrt(degrees) - effect)) with c = t.ppf(1 - level / 2); to 8 decimals.
TEST(Power, MatchesItsDefinition) {
  EXPECT_NEAR(t_test_power(2.0, 2, 0.05), 0.21830707, 1e-8);
  EXPECT_NEAR(t_test_power(3.5, 3, 0.05), 0.65164966, 1e-8);
  EXPECT_NEAR(t_test_power(5.0, 3, 0.05), 0.89860594, 1e-8);
  EXPECT_NEAR(t_test_power(-2.8, 9, 0.05), 0.70330001, 1e-8);
  EXPECT_NEAR(t_test_power(1.0, 19, 0.05), 0.15808775, 1e-8);
  EXPECT_NEAR(t_test_power(3.0, 33, 0.05), 0.82937567, 1e-8);
  EXPECT_NEAR(t_test_power(4.0, 4, 0.0125), 0.50337634, 1e-8);
  EXPECT_NEAR(t_test_power(6.0, 7, 0.01), 0.97091798, 1e-8);
}

TEST(Power, OfNothingIsTheLevelAndOfAHugeEffectIsOne) {
  EXPECT_NEAR(t_test_power(0.0, 5, 0.05), 0.05, 1e-12);
  EXPECT_NEAR(t_test_power(40.0, 2, 0.05), 1.0, 1e-12);
  EXPECT_EQ(t_test_power(1e6, 2, 0.05), 1.0);
}

// The roots of the same integral, by scipy's brentq.
TEST(Power, DetectableErrorsMatchTheDefinition) {
  EXPECT_NEAR(detectable_errors(2, 0.05), 5.6534893, 1e-6);
  EXPECT_NEAR(detectable_errors(3, 0.05), 4.2558987, 1e-6);
  EXPECT_NEAR(detectable_errors(9, 0.05), 3.1496329, 1e-6);
  EXPECT_NEAR(detectable_errors(19, 0.05), 2.9535849, 1e-6);
  EXPECT_NEAR(detectable_errors(3, 0.025), 5.4320563, 1e-6);
  EXPECT_NEAR(detectable_errors(2, 0.01), 12.6784254, 1e-6);
  EXPECT_NEAR(detectable_errors(1e6, 0.05), 1.959964 + 0.841621, 1e-4);  // of a known error
}

// The table of docs/statistics.md. For Cohen's d of 0.2, 0.5, 0.8 and 1 it is G*Power's (Faul et al. 2007,
// two dependent means, two-sided 5 %, power 0.8): 199, 34, 15, 10. The others are from the integral above.
TEST(SeedsNeeded, MatchesTables) {
  const std::vector<std::pair<double, int64_t>> table = {{4.0, 3},  {3.0, 4},  {2.0, 5},  {1.5, 6},
                                                         {1.2, 8},  {1.0, 10}, {0.8, 15}, {0.6, 24},
                                                         {0.5, 34}, {0.3, 90}, {0.2, 199}};
  for (const auto& [ratio, pairs] : table)
    EXPECT_EQ(pairs_needed(-0.01 * ratio, 0.01, 0.05, 3), pairs) << ratio;
  // The level that two candidates leave to one.
  EXPECT_EQ(pairs_needed(2.0, 1.0, 0.025, 3), 6);
  EXPECT_EQ(pairs_needed(0.5, 1.0, 0.025, 3), 41);
}

TEST(SeedsNeeded, OfExtremesIsTheFewestOrNone) {
  EXPECT_EQ(pairs_needed(0.1, 0.0, 0.05, 3), 3);
  EXPECT_FALSE(pairs_needed(0.0, 0.1, 0.05, 3).has_value());
  EXPECT_FALSE(pairs_needed(0.0, 0.0, 0.05, 3).has_value());
  EXPECT_FALSE(pairs_needed(1e-4, 1.0, 0.05, 3).has_value());
}

// Two sides of equal scatter: G*Power's two independent means, d = 1 and d = 0.8: 17 and 26 a side.
TEST(SeedsNeeded, UnpairedMatchesTables) {
  EXPECT_EQ(runs_needed(1.0, 1.0, 1.0, 0.05, 3), 17);
  EXPECT_EQ(runs_needed(0.8, 1.0, 1.0, 0.05, 3), 26);
  // A side without scatter leaves a test of the other: 10 of d = 1.
  EXPECT_EQ(runs_needed(1.0, 1.0, 0.0, 0.05, 3), 10);
}

// The share of 20,000 experiments that a t test by hand believes: its standard deviation is 0.28 points.
TEST(SeedsNeeded, IsTheFewestThatShowsTheEffectInFourOfFiveExperiments) {
  const auto share = [](int64_t pairs) {
    std::mt19937_64 random(11);
    std::normal_distribution<double> difference(1.5, 1.0);
    const double critical = student_quantile(0.975, static_cast<double>(pairs - 1));
    int found = 0;
    for (int experiment = 0; experiment < 20000; ++experiment) {
      double sum = 0.0;
      double square = 0.0;
      for (int64_t i = 0; i < pairs; ++i) {
        const double value = difference(random);
        sum += value;
        square += value * value;
      }
      const double n = static_cast<double>(pairs);
      const double error = std::sqrt((square - sum * sum / n) / (n - 1.0) / n);
      found += std::abs(sum / n) > critical * error;
    }
    return found / 20000.0;
  };
  const int64_t needed = pairs_needed(1.5, 1.0, 0.05, 3).value();
  EXPECT_GT(share(needed), 0.80 - 0.0085);
  EXPECT_LT(share(needed - 1), 0.80);
}

// 0.005 x 4, 0.01 x 3, 0.03 x 2, and 0.04 x 1, which is raised to the 0.06 before it.
TEST(Holm, EqualsTheProcedureByHand) {
  const std::vector<double> corrected = holm_corrected(std::vector<double>{0.01, 0.04, 0.03, 0.005});
  const std::vector<double> expected = {0.03, 0.06, 0.06, 0.02};
  for (size_t i = 0; i < 4; ++i) EXPECT_NEAR(corrected.at(i), expected.at(i), 1e-15) << i;
  EXPECT_EQ(holm_corrected(std::vector<double>{0.02}), std::vector<double>{0.02});
  EXPECT_EQ(holm_corrected(std::vector<double>{0.6, 0.7}), (std::vector<double>{1.0, 1.0}));
  EXPECT_TRUE(holm_corrected({}).empty());
}

// Wilson's interval holds the shares p at which the score |x / n - p| is at most 1.96 standard errors of p.
TEST(Statistics, WilsonIntervalsEndWhereTheScoreIsTheQuantile) {
  for (const int64_t trials : {1, 5, 20, 1000}) {
    for (int64_t successes = 0; successes <= trials; successes += std::max<int64_t>(1, trials / 5)) {
      const ShareInterval interval = wilson_interval(successes, trials);
      const double share = static_cast<double>(successes) / static_cast<double>(trials);
      EXPECT_LE(interval.low, share);
      EXPECT_GE(interval.high, share);
      for (const double end : {interval.low, interval.high}) {
        if (end == 0.0 || end == 1.0) continue;
        const double error = std::sqrt(end * (1.0 - end) / static_cast<double>(trials));
        EXPECT_NEAR(std::abs(share - end) / error, 1.959964, 1e-6) << successes << " of " << trials;
      }
      EXPECT_EQ(interval.low == 0.0, successes == 0);
      EXPECT_EQ(interval.high == 1.0, successes == trials);
    }
  }
  EXPECT_NEAR(wilson_interval(0, 20).high, 0.1611252, 1e-6);  // z^2 / (n + z^2)
  EXPECT_ANY_THROW(wilson_interval(3, 2));
  EXPECT_ANY_THROW(wilson_interval(0, 0));
}

}  // namespace
}  // namespace ssgpt::report
