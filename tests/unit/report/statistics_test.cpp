#include "report/statistics.h"

#include <cmath>
#include <cstdint>
#include <random>
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
  EXPECT_EQ(student_quantile(0.5, 7) < 1e-9, true);
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
  double lower = 0;
  double higher = 0;
};

Tally repeat(size_t count, double phi, double mean, int repetitions, uint64_t seed) {
  std::mt19937_64 random(seed);
  Tally tally;
  for (int i = 0; i < repetitions; ++i) {
    const Estimate estimate = batch_means(ar1(random, count, phi, mean), ones(count));
    tally.covered += estimate.low() <= mean && mean <= estimate.high();
    tally.lower += estimate.verdict() == Verdict::kLower;
    tally.higher += estimate.verdict() == Verdict::kHigher;
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

// What the batches are for: the plain error of independent values covers far less.
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

TEST(BatchMeans, NoDifferenceGivesNoVerdictAtTheNominalRate) {
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
  // Of 20 independent batches of 20 values each the error is 1 / sqrt(400) = 0.05 for certain.
  const double detectable = (student_quantile(0.975, 19) + student_quantile(0.80, 19)) * 0.05;
  const Tally tally = repeat(400, 0.0, -detectable, kRepetitions, 7);
  // Bloom's multiplier takes the error as known; with 19 degrees of freedom that moves the power by under a
  // point.
  EXPECT_NEAR(tally.lower, 0.80, 3 * std::sqrt(0.8 * 0.2 / kRepetitions) + 0.01);
}

TEST(BatchMeans, EqualsTheFormulaByHand) {
  // 20 points in 5 batches of 4: means 1.5, 3.5, 2, 6, 4.
  const std::vector<double> values = {0, 3, 0, 3, 2, 5, 2, 5, 0, 4, 0, 4, 9, 3, 8, 4, 6, 2, 6, 2};
  const Estimate estimate = batch_means(values, ones(20));
  // Neighbours are unlike: the sum of their products is below zero.
  EXPECT_EQ(estimate.correlation_time, 1.0);
  EXPECT_EQ(estimate.method, Method::kBatchMeans);
  EXPECT_EQ(estimate.batches, 5);
  EXPECT_DOUBLE_EQ(estimate.mean, 3.4);
  const double variance = (1.9 * 1.9 + 0.1 * 0.1 + 1.4 * 1.4 + 2.6 * 2.6 + 0.6 * 0.6) / 4;
  EXPECT_NEAR(estimate.standard_error, std::sqrt(variance / 5), 1e-12);
  EXPECT_NEAR(estimate.half_width, 2.7764451 * std::sqrt(variance / 5), 1e-6);
}

TEST(BatchMeans, WeighsPointsByTheirSteps) {
  std::vector<double> values(12, 1.0);
  std::vector<double> weights(12, 10.0);
  values[3] = 5.0;
  weights[3] = 30.0;
  EXPECT_DOUBLE_EQ(batch_means(values, weights).mean, (11 * 10.0 + 5.0 * 30.0) / 140.0);
}

TEST(BatchMeans, TooFewPointsGiveAMeanWithoutAnErrorOrVerdict) {
  const std::vector<double> values(19, -1.0);
  const Estimate estimate = batch_means(values, ones(19));
  EXPECT_EQ(estimate.mean, -1.0);
  EXPECT_EQ(estimate.method, Method::kNone);
  EXPECT_EQ(estimate.verdict(), Verdict::kNone);
  EXPECT_TRUE(std::isnan(batch_means({}, {}).mean));
}

// A true difference of zero behind noise whose correlation falls by e over `time` points: 5 % of verdicts are
// wrong by design, none must be where the window is too short to tell. The estimated correlation time is
// itself uncertain, which costs up to a point more.
TEST(BatchMeans, CorrelatedNoiseGivesNoMoreFalseVerdictsThanTheLevel) {
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
TEST(BatchMeans, ADozenPointsNeverGiveAVerdict) {
  for (const size_t count : {size_t{10}, size_t{12}, size_t{19}}) {
    const Tally tally = repeat(count, std::exp(-0.5), -100.0, 100, count);
    EXPECT_EQ(tally.lower + tally.higher, 0.0) << count << " points";
  }
}

TEST(BatchMeans, WhiteNoiseKeepsItsVerdicts) {
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

TEST(BatchMeans, ALinearDriftGetsAWarningAndNoVerdict) {
  for (const size_t count : {size_t{60}, size_t{300}}) {
    std::mt19937_64 random(8);
    std::vector<double> values = ar1(random, count, 0.0, 2.0);
    for (size_t i = 0; i < count; ++i) values[i] += 8.0 * static_cast<double>(i) / static_cast<double>(count);
    const Estimate drifting = batch_means(values, ones(count));
    EXPECT_TRUE(drifting.correlated) << count;
    EXPECT_GT(drifting.low(), 0.0) << count;  // by its interval alone there would be one
    EXPECT_EQ(drifting.verdict(), Verdict::kNone) << count;
    EXPECT_EQ(drifting.batches, 5) << count;
  }
}

TEST(Seeds, PairedEqualsTheTTestByHand) {
  const Estimate estimate = paired_seeds(std::vector<double>{-0.02, -0.01, -0.03});
  EXPECT_NEAR(estimate.mean, -0.02, 1e-15);
  EXPECT_NEAR(estimate.standard_error, 0.01 / std::sqrt(3.0), 1e-15);
  EXPECT_NEAR(estimate.half_width, 4.302653 * 0.01 / std::sqrt(3.0), 1e-7);  // t of 2 degrees
  EXPECT_EQ(estimate.verdict(), Verdict::kNone);                             // 0.0248 on either side
  EXPECT_EQ(paired_seeds(std::vector<double>{1.0}).method, Method::kNone);
}

TEST(Seeds, UnpairedEqualsWelchByHand) {
  const std::vector<double> candidate = {3.0, 3.2, 3.4};
  const std::vector<double> baseline = {4.0, 4.1};
  const Estimate estimate = unpaired_seeds(candidate, baseline);
  const double a = 0.04 / 3;
  const double b = 0.005 / 2;
  EXPECT_NEAR(estimate.mean, -0.85, 1e-12);
  EXPECT_NEAR(estimate.standard_error, std::sqrt(a + b), 1e-12);
  EXPECT_NEAR(estimate.degrees_of_freedom, (a + b) * (a + b) / (a * a / 2 + b * b), 1e-9);
  EXPECT_EQ(estimate.verdict(), Verdict::kLower);
}

}  // namespace
}  // namespace ssgpt::report
