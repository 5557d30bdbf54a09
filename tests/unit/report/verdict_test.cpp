#include "report/verdict.h"

#include <cmath>
#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include <gtest/gtest.h>

namespace ssgpt::report {
namespace {

std::vector<SeedValue> values(const std::vector<double>& numbers, uint64_t first_seed = 1) {
  std::vector<SeedValue> result;
  for (const double number : numbers) result.push_back({first_seed + result.size(), number});
  return result;
}

Estimate judge_one(const std::vector<SeedValue>& candidate, const std::vector<SeedValue>& baseline) {
  return judge({{candidate, baseline}}).at(0);
}

TEST(Verdict, PairedEqualsTheTTestByHand) {
  const Estimate estimate = judge_one(values({2.98, 1.99, 3.97}), values({3.0, 2.0, 4.0}));
  EXPECT_NEAR(estimate.mean, -0.02, 1e-14);
  EXPECT_EQ(estimate.method, Method::kSeedsPaired);
  EXPECT_EQ(estimate.seeds, 3);
  EXPECT_NEAR(estimate.scatter, 0.01, 1e-14);
  EXPECT_NEAR(estimate.standard_error, 0.01 / std::sqrt(3.0), 1e-14);
  EXPECT_NEAR(estimate.half_width, 4.302653 * 0.01 / std::sqrt(3.0), 1e-7);  // t of 2 degrees
  // Student's t of 2 degrees has a closed form: P(|T| > t) = 1 - t / sqrt(2 + t^2), here of t = 2 sqrt(3).
  EXPECT_NEAR(estimate.p, 1.0 - std::sqrt(12.0 / 14.0), 1e-12);
  EXPECT_EQ(estimate.p_corrected, estimate.p);
  EXPECT_EQ(estimate.verdict(), Verdict::kNone);  // 0.0248 on either side
}

TEST(Verdict, ThreePairsThatAgreeHaveAVerdict) {
  EXPECT_EQ(judge_one(values({2.98, 1.979, 3.981}), values({3.0, 2.0, 4.0})).verdict(), Verdict::kLower);
  EXPECT_EQ(judge_one(values({3.0, 2.0, 4.0}), values({2.98, 1.979, 3.981})).verdict(), Verdict::kHigher);
}

// However far apart they are: one difference has no error, and that of two has a single degree of freedom.
TEST(Verdict, OneOrTwoPairsHaveNone) {
  const Estimate one = judge_one(values({1.0}), values({3.0}));
  EXPECT_EQ(one.mean, -2.0);
  EXPECT_EQ(one.method, Method::kNone);
  EXPECT_FALSE(one.tested());
  EXPECT_EQ(one.verdict(), Verdict::kNone);
  EXPECT_FALSE(one.seeds_needed.has_value());
  const Estimate two = judge_one(values({1.0, 1.0}), values({3.0, 3.001}));
  EXPECT_EQ(two.method, Method::kSeedsPaired);
  EXPECT_NEAR(two.scatter, 0.001 / std::sqrt(2.0), 1e-12);
  EXPECT_FALSE(two.tested());
  EXPECT_EQ(two.verdict(), Verdict::kNone);
  EXPECT_EQ(two.seeds_needed, 3);
}

TEST(Verdict, SeedsOfOneSideAloneAreLeftOutOfAPairing) {
  const Estimate estimate =
      judge_one({{1, 2.0}, {2, 2.1}, {3, 2.2}, {9, 50.0}}, {{3, 2.3}, {2, 2.15}, {1, 2.2}, {7, -50.0}});
  EXPECT_EQ(estimate.seeds, 3);
  EXPECT_NEAR(estimate.mean, (-0.2 - 0.05 - 0.1) / 3, 1e-12);
}

TEST(Verdict, ASeedTwiceOnASideIsRefused) {
  EXPECT_ANY_THROW(judge_one({{1, 2.0}, {1, 2.1}}, {{1, 2.0}}));
}

TEST(Verdict, UnpairedEqualsWelchByHand) {
  const Estimate estimate = judge_one(values({3.0, 3.2, 3.4}), values({4.0, 4.1, 4.2}, 11));
  const double a = 0.04 / 3;
  const double b = 0.01 / 3;
  EXPECT_EQ(estimate.method, Method::kSeedsUnpaired);
  EXPECT_NEAR(estimate.mean, -0.9, 1e-12);
  EXPECT_NEAR(estimate.standard_error, std::sqrt(a + b), 1e-12);
  EXPECT_NEAR(estimate.degrees_of_freedom, (a + b) * (a + b) / (a * a / 2 + b * b / 2), 1e-9);
  EXPECT_EQ(estimate.verdict(), Verdict::kLower);
}

TEST(Verdict, UnpairedNeedsThreeASide) {
  const Estimate estimate = judge_one(values({3.0, 3.2, 3.4}), values({4.0, 4.1}, 11));
  const double a = 0.04 / 3;
  const double b = 0.005 / 2;
  EXPECT_NEAR(estimate.mean, -0.85, 1e-12);
  EXPECT_NEAR(estimate.standard_error, std::sqrt(a + b), 1e-12);
  EXPECT_NEAR(estimate.degrees_of_freedom, (a + b) * (a + b) / (a * a / 2 + b * b), 1e-9);
  EXPECT_EQ(estimate.seeds, 2);
  EXPECT_EQ(estimate.verdict(), Verdict::kNone);
}

TEST(Verdict, ARunWithoutAValueTakesItAway) {
  const double nan = std::nan("");
  const Estimate paired = judge_one(values({1.0, 1.1, 1.0, nan}), values({3.0, 3.0, 3.1, 3.0}));
  EXPECT_EQ(paired.seeds, 3);
  EXPECT_EQ(paired.missing, 1);
  EXPECT_LT(paired.high(), 0.0);
  EXPECT_EQ(paired.verdict(), Verdict::kNone);
  const Estimate unpaired = judge_one(values({1.0, 1.1, 1.0, nan}), values({3.0, 3.0, 3.1}, 11));
  EXPECT_LT(unpaired.high(), 0.0);
  EXPECT_EQ(unpaired.verdict(), Verdict::kNone);
}

TEST(Verdict, EqualDifferencesLeaveNothingToChance) {
  EXPECT_EQ(judge_one(values({1.5, 2.5, 3.5}), values({1.0, 2.0, 3.0})).verdict(), Verdict::kHigher);
  const Estimate same = judge_one(values({1.0, 2.0, 3.0}), values({1.0, 2.0, 3.0}));
  EXPECT_EQ(same.p, 1.0);
  EXPECT_EQ(same.verdict(), Verdict::kNone);
}

// Three candidates whose t of 2 degrees are -5, -4.9 and 0: each of the first two has p below 0.05 by itself.
// Holm multiplies 0.0377 by 3 and 0.0392 by 2, so neither is below it.
TEST(Verdict, SeveralCandidatesAreCorrectedAfterHolm) {
  const std::vector<SeedValue> baseline = values({0.0, 0.0, 0.0});
  const auto with_t = [](double t) {  // differences of standard deviation 1: the error is 1 / sqrt(3)
    const double mean = t / std::sqrt(3.0);
    return values({mean - 1.0, mean, mean + 1.0});
  };
  const std::vector<Estimate> all =
      judge({{with_t(-5.0), baseline}, {with_t(-4.9), baseline}, {with_t(0.0), baseline}});
  const auto p = [](double t) {
    return 1.0 - t / std::sqrt(2.0 + t * t);
  };
  EXPECT_NEAR(all[0].p, p(5.0), 1e-12);
  EXPECT_NEAR(all[0].p_corrected, 3 * p(5.0), 1e-12);
  EXPECT_NEAR(all[1].p_corrected, 3 * p(5.0), 1e-12);  // 2 p(4.9) is less: made monotone
  EXPECT_LT(2 * p(4.9), 3 * p(5.0));
  EXPECT_EQ(all[2].p_corrected, 1.0);
  for (const size_t i : {size_t{0}, size_t{1}}) {
    EXPECT_EQ(all[i].family, 3);
    EXPECT_LT(all[i].high(), 0.0);
    EXPECT_TRUE(all[i].lost_to_correction());
    EXPECT_EQ(all[i].verdict(), Verdict::kNone);
  }
  EXPECT_FALSE(all[2].lost_to_correction());
  EXPECT_EQ(judge_one(with_t(-5.0), baseline).verdict(), Verdict::kLower);  // alone it has one
}

TEST(Verdict, CandidatesThatCannotBeTestedDoNotCount) {
  const std::vector<SeedValue> baseline = values({0.0, 0.0, 0.0});
  const std::vector<Estimate> all =
      judge({{values({-0.98, -1.0, -1.02}), baseline}, {values({-1.0}), baseline}});
  EXPECT_EQ(all[0].family, 1);
  EXPECT_EQ(all[0].p_corrected, all[0].p);
  EXPECT_EQ(all[1].family, 2);  // what it takes to show it is told for both together
}

// Runs of one seed read the same text, and so share the noise of each step; but from the first rounding on
// they drift apart, and stay apart. The end of a training: kPoints logged losses after kBefore steps.
constexpr int kPoints = 400;
constexpr int kBefore = 1600;
constexpr int kSeeds = 4;
constexpr int kExperiments = 1000;
constexpr double kDrift = 0.0002;  // of a step, a standard deviation
constexpr double kOwn = 0.01;      // of each loss, independent
constexpr double kText = 0.1;      // of each loss, shared by a pair

struct Pair {
  double candidate = 0.0;  // means of the points
  double baseline = 0.0;
  std::vector<double> difference;
};

Pair train_pair(std::mt19937_64& random, double effect) {
  std::normal_distribution<double> normal;
  Pair pair;
  double apart = kDrift * std::sqrt(static_cast<double>(kBefore)) * normal(random);
  const double start = 3.0 + 0.1 * normal(random);  // the seed's
  for (int i = 0; i < kPoints; ++i) {
    apart += kDrift * normal(random);
    const double baseline = start + kText * normal(random);
    const double candidate = baseline + effect + apart + kOwn * normal(random);
    pair.baseline += baseline / kPoints;
    pair.candidate += candidate / kPoints;
    pair.difference.push_back(candidate - baseline);
  }
  return pair;
}

// The standard deviation of the differences between seeds, from the definition of train_pair: step i of the
// walk is in the last kPoints - i points, and those before in all.
double true_scatter() {
  double variance = kDrift * kDrift * kBefore + kOwn * kOwn / kPoints;
  for (int i = 0; i < kPoints; ++i) {
    const double share = static_cast<double>(kPoints - i) / kPoints;
    variance += kDrift * kDrift * share * share;
  }
  return std::sqrt(variance);
}

struct Shares {
  double verdicts = 0.0;      // of the experiments that had one
  double of_one_curve = 0.0;  // that the batch means of their first pair alone would have claimed
  double mean_detectable = 0.0;
};

Shares repeat(double effect, uint64_t seed) {
  std::mt19937_64 random(seed);
  Shares shares;
  for (int experiment = 0; experiment < kExperiments; ++experiment) {
    Sides sides;
    for (uint64_t run = 0; run < kSeeds; ++run) {
      const Pair pair = train_pair(random, effect);
      sides.candidate.push_back({run, pair.candidate});
      sides.baseline.push_back({run, pair.baseline});
      if (run > 0) continue;
      const CurveNoise noise = batch_means(pair.difference, std::vector<double>(kPoints, 1.0));
      const double half = student_quantile(0.975, noise.degrees_of_freedom) * noise.standard_error;
      shares.of_one_curve += !noise.correlated && std::abs(noise.mean) > half;
    }
    const Estimate estimate = judge({sides}).at(0);
    shares.verdicts += estimate.verdict() != Verdict::kNone;
    shares.mean_detectable += estimate.smallest_detectable;
  }
  shares.verdicts /= kExperiments;
  shares.of_one_curve /= kExperiments;
  shares.mean_detectable /= kExperiments;
  return shares;
}

// 1.5 points are two standard deviations of a binomial share of 5 % at 1,000 experiments (0.69 points).
TEST(VerdictOfRunsThatDriftApart, IsFalseInOneOfTwentyWhereNothingDiffers) {
  const Shares shares = repeat(/*effect=*/0.0, /*seed=*/1);
  EXPECT_NEAR(shares.verdicts, 0.05, 0.015);
  // Why a single pair carries none: by its curve's own noise most would have claimed a difference.
  EXPECT_GT(shares.of_one_curve, 0.5);
  // The differences that the experiments claim to be able to show are, on average, the true value times the
  // mean of a standard deviation from four values, c4(4) = 0.9213 (Student's). Its own deviation is 0.42 of
  // it, 0.013 of their mean.
  const double detectable = true_scatter() / 2.0 * detectable_errors(kSeeds - 1, kLevel);
  EXPECT_NEAR(shares.mean_detectable / detectable, 0.9213, 0.04);
}

// 5 points are four standard deviations of a binomial share of 80 % at 1,000 experiments (1.26 points).
TEST(VerdictOfRunsThatDriftApart, FindsTheDetectableDifferenceAsOftenAsStated) {
  const double detectable = true_scatter() / std::sqrt(kSeeds) * detectable_errors(kSeeds - 1, kLevel);
  EXPECT_NEAR(repeat(-detectable, /*seed=*/2).verdicts, kPower, 0.05);
}

// Three candidates against the same baseline runs: any verdict among them is false. Their tests share the
// baseline's luck, so the share may be below the level, never above it but for chance.
TEST(VerdictOfRunsThatDriftApart, OfSeveralCandidatesOneIsFalseNoMoreOften) {
  std::mt19937_64 random(3);
  std::normal_distribution<double> normal;
  int corrected = 0;
  int plain = 0;
  for (int experiment = 0; experiment < kExperiments; ++experiment) {
    const std::vector<SeedValue> baseline =
        values({normal(random), normal(random), normal(random), normal(random)});
    std::vector<Sides> candidates;
    for (int i = 0; i < 3; ++i) {
      candidates.push_back(
          {values({normal(random), normal(random), normal(random), normal(random)}), baseline});
    }
    bool any = false;
    bool by_interval = false;
    for (const Estimate& one : judge(candidates)) {
      any |= one.verdict() != Verdict::kNone;
      by_interval |= one.p < kLevel;
    }
    corrected += any;
    plain += by_interval;
  }
  EXPECT_LE(corrected, 50 + 15);
  EXPECT_GE(corrected, 20);       // and it is no blanket refusal
  EXPECT_GE(plain, 50 + 2 * 15);  // without the correction there are more than one in twenty
}

}  // namespace
}  // namespace ssgpt::report
