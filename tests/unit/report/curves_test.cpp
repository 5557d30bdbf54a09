#include "report/curves.h"

#include <cmath>
#include <cstdint>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include <gtest/gtest.h>

namespace ssgpt::report {
namespace {

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

// A model whose means at the points are these, with trials that say the same.
MeasuredCurve curve(const std::string& variant, uint64_t seed, const std::vector<double>& means,
                    size_t trials = 2, int64_t tokens = 1000) {
  MeasuredCurve result{.variant = variant, .seed = seed, .checkpoint = {}, .points = {}};
  for (const double mean : means) {
    result.points.push_back(
        {.mean = mean, .standard_error = 0.0, .tokens = tokens, .trials = std::vector<double>(trials, mean)});
  }
  return result;
}

// P(|T| > |mean| / (scatter / sqrt(3))) of Student's t with 2 degrees of freedom, which has a closed form.
double p_of_three(double mean, double scatter) {
  const double t = std::abs(mean) * std::sqrt(3.0) / scatter;
  return 1.0 - t / std::sqrt(2.0 + t * t);
}

// Three seeds whose differences to a baseline of 3.0 are mean - scatter, mean, mean + scatter at each point:
// their standard deviation is `scatter`.
void add_three(const std::string& variant, const std::vector<double>& means,
               const std::vector<double>& scatters, std::vector<MeasuredCurve>& curves) {
  for (uint64_t seed = 1; seed <= 3; ++seed) {
    std::vector<double> values;
    for (size_t i = 0; i < means.size(); ++i)
      values.push_back(3.0 + means[i] + (static_cast<double>(seed) - 2.0) * scatters[i]);
    curves.push_back(curve(variant, seed, values));
  }
}

TEST(Curves, CandidatesTimesPointsAreOneFamilyAfterHolm) {
  std::vector<MeasuredCurve> curves;
  add_three("base", {0.0, 0.0}, {0.0, 0.0}, curves);
  add_three("a", {-0.5, 0.1}, {0.01, 0.1}, curves);
  add_three("b", {0.2, -0.3}, {0.02, 0.01}, curves);
  const JudgedFigure judged = judge_curves(Figure::kLoss, curves, "base");
  ASSERT_EQ(judged.candidates.size(), 2);
  const Estimate& a0 = judged.candidates[0].points[0].estimate;
  const Estimate& a1 = judged.candidates[0].points[1].estimate;
  const Estimate& b0 = judged.candidates[1].points[0].estimate;
  const Estimate& b1 = judged.candidates[1].points[1].estimate;
  // In rising order a0 (t = 50 sqrt 3), b1 (30 sqrt 3), b0 (10 sqrt 3), a1 (sqrt 3): times 4, 3, 2, 1.
  const double tolerance = 1e-9;  // values are sums of numbers near 3, and p of a0 is 1.3e-4
  EXPECT_NEAR(a0.p, p_of_three(-0.5, 0.01), tolerance);
  EXPECT_NEAR(a0.p_corrected, 4 * p_of_three(-0.5, 0.01), tolerance);
  EXPECT_NEAR(b1.p_corrected, 3 * p_of_three(-0.3, 0.01), tolerance);
  EXPECT_NEAR(b0.p_corrected, 2 * p_of_three(0.2, 0.02), tolerance);
  EXPECT_NEAR(a1.p_corrected, p_of_three(0.1, 0.1), tolerance);
  for (const Estimate* one : {&a0, &a1, &b0, &b1}) EXPECT_EQ(one->family, 4);
  EXPECT_EQ(a0.verdict(), Verdict::kLower);
  EXPECT_EQ(b0.verdict(), Verdict::kHigher);
  EXPECT_EQ(a1.verdict(), Verdict::kNone);
  EXPECT_EQ(judged.candidates[0].points[0].seeds.size(), 3);
  EXPECT_NEAR(judged.candidates[0].points[0].seeds[2].value, -0.49, 1e-12);
}

// Losses near 3 are 2.4e-7 apart in fp32: what is no more than that may be rounding, however certain the
// test.
TEST(Curves, ADifferenceThatRoundingCouldMakeHasNoVerdict) {
  std::vector<MeasuredCurve> curves;
  add_three("base", {0.0, 0.0}, {0.0, 0.0}, curves);
  add_three("a", {2e-7, 4e-7}, {1e-9, 1e-9}, curves);
  const JudgedFigure judged = judge_curves(Figure::kLoss, curves, "base");
  const std::vector<PointDifference>& points = judged.candidates[0].points;
  EXPECT_LT(points[0].estimate.p_corrected, 1e-4);
  EXPECT_EQ(points[0].estimate.verdict(), Verdict::kNone);
  EXPECT_EQ(points[1].estimate.verdict(), Verdict::kHigher);
}

// A difference that a test by itself believes is one of many here.
TEST(Curves, ManyPointsTakeAVerdictAway) {
  std::vector<MeasuredCurve> one;
  add_three("base", {0.0}, {0.0}, one);
  add_three("a", {0.1}, {0.03}, one);  // p 0.029
  EXPECT_EQ(judge_curves(Figure::kLoss, one, "base").candidates[0].points[0].estimate.verdict(),
            Verdict::kHigher);
  std::vector<MeasuredCurve> two;
  add_three("base", {0.0, 0.0}, {0.0, 0.0}, two);
  add_three("a", {0.1, 0.0}, {0.03, 0.1}, two);
  const Estimate estimate = judge_curves(Figure::kLoss, two, "base").candidates[0].points[0].estimate;
  EXPECT_EQ(estimate.verdict(), Verdict::kNone);
  EXPECT_TRUE(estimate.lost_to_correction());
}

TEST(Curves, OneSeedHasTheScatterOfTheTrialsAndNoVerdict) {
  MeasuredCurve base = curve("base", 1, {2.0});
  MeasuredCurve candidate = curve("a", 1, {2.2});
  base.points[0].trials = {1.5, 2.0, 3.0};
  candidate.points[0].trials = {1.0, 2.0, 4.0};
  const JudgedFigure judged = judge_curves(Figure::kLoss, std::vector{base, candidate}, "base");
  const PointDifference& point = judged.candidates.at(0).points.at(0);
  // Differences -1/2, 0 and 1: mean 1/6, squared deviations 4/9 + 1/36 + 25/36 = 7/6.
  EXPECT_EQ(point.trials.trials, 3);
  EXPECT_NEAR(point.trials.mean, 1.0 / 6.0, 1e-15);
  EXPECT_NEAR(point.trials.standard_error, std::sqrt(7.0 / 6.0 / 2.0 / 3.0), 1e-15);
  EXPECT_NEAR(point.estimate.mean, 0.2, 1e-15);  // of the means over tokens
  EXPECT_FALSE(point.estimate.tested());
  EXPECT_EQ(point.estimate.verdict(), Verdict::kNone);
  EXPECT_TRUE(judged.candidates[0].paired);
}

TEST(Curves, TrialsAreAveragedOverThePairsOfSeeds) {
  std::vector<MeasuredCurve> curves = {curve("base", 1, {0.0}), curve("base", 2, {0.0}), curve("a", 2, {0.0}),
                                       curve("a", 1, {0.0})};
  curves[0].points[0].trials = {1.0, 1.0};
  curves[1].points[0].trials = {2.0, 2.0};
  curves[2].points[0].trials = {2.5, 2.0};  // +0.5, 0
  curves[3].points[0].trials = {1.1, 1.3};  // +0.1, +0.3
  const JudgedFigure judged = judge_curves(Figure::kLoss, curves, "base");
  const TrialDifferences& trials = judged.candidates.at(0).points.at(0).trials;
  EXPECT_NEAR(trials.mean, (0.3 + 0.15) / 2, 1e-15);
  EXPECT_NEAR(trials.standard_error, 0.15 / 2, 1e-15);  // half the distance of two values
}

TEST(Curves, AValueThatIsNotFiniteTakesTheVerdictOfItsPointAway) {
  std::vector<MeasuredCurve> curves;
  add_three("base", {0.0, 0.0}, {0.0, 0.0}, curves);
  add_three("a", {-0.5, -0.5}, {0.01, 0.01}, curves);
  curves.push_back(curve("base", 4, {3.0, 3.0}));
  curves.push_back(curve("a", 4, {2.5, kNaN}));
  const JudgedFigure judged = judge_curves(Figure::kLoss, curves, "base");
  const std::vector<PointDifference>& points = judged.candidates.at(0).points;
  EXPECT_EQ(points[0].estimate.verdict(), Verdict::kLower);
  EXPECT_EQ(points[1].estimate.seeds, 3);
  EXPECT_EQ(points[1].estimate.missing, 1);
  EXPECT_EQ(judged.candidates[0].seeds, 4);
  EXPECT_EQ(points[1].estimate.verdict(), Verdict::kNone);
  EXPECT_TRUE(std::isnan(judged.variants[1].means[1]));
  EXPECT_TRUE(std::isnan(points[1].trials.standard_error));
}

TEST(Curves, WithoutSharedSeedsTheSidesAreCompared) {
  std::vector<MeasuredCurve> curves;
  for (uint64_t i = 0; i < 3; ++i) {
    const double own = 0.1 * static_cast<double>(i);
    curves.push_back(curve("base", 1 + i, {4.0 + own}));
    curves.push_back(curve("a", 11 + i, {3.0 + 2 * own}));
  }
  const JudgedFigure judged = judge_curves(Figure::kLoss, curves, "base");
  const CurveCandidate& candidate = judged.candidates.at(0);
  EXPECT_FALSE(candidate.paired);
  EXPECT_TRUE(candidate.points[0].seeds.empty());
  const Estimate& estimate = candidate.points[0].estimate;
  EXPECT_EQ(estimate.method, Method::kSeedsUnpaired);
  EXPECT_NEAR(estimate.standard_error, std::sqrt(0.04 / 3 + 0.01 / 3), 1e-12);  // Welch
  EXPECT_NEAR(candidate.points[0].trials.mean, -0.9, 1e-12);
}

TEST(Curves, SeedsOfOneSideAloneAreNotInTheDifferences) {
  std::vector<MeasuredCurve> curves;
  add_three("base", {0.0}, {0.0}, curves);
  add_three("a", {-0.5}, {0.01}, curves);
  curves.push_back(curve("a", 9, {100.0}));
  const JudgedFigure judged = judge_curves(Figure::kLoss, curves, "base");
  EXPECT_NEAR(judged.candidates.at(0).points[0].estimate.mean, -0.5, 1e-12);
  EXPECT_NEAR(judged.candidates[0].points[0].trials.mean, -0.5, 1e-12);
  EXPECT_EQ(judged.variants[1].seeds, (std::vector<uint64_t>{1, 2, 3}));
  EXPECT_EQ(judged.variants[1].left_out, (std::vector<uint64_t>{9}));
  EXPECT_NEAR(judged.variants[1].means[0], 2.5, 1e-12);
  EXPECT_TRUE(judged.variants[0].left_out.empty());
}

// Three seeds of which the candidate answers the first `right` of 50 trials, the baseline none.
Estimate of_counts(size_t right) {
  std::vector<MeasuredCurve> curves;
  for (uint64_t seed = 1; seed <= 3; ++seed) {
    curves.push_back(curve("base", seed, {0.0}, 50));
    MeasuredCurve& candidate = curves.emplace_back(curve("a", seed, {static_cast<double>(right) / 50}, 50));
    std::vector<double>& trials = candidate.points[0].trials;
    for (size_t i = 0; i < trials.size(); ++i) trials[i] = i < right ? 1.0 : 0.0;
  }
  return judge_curves(Figure::kAccuracy, curves, "base").candidates.at(0).points.at(0).estimate;
}

// Three seeds that are one trial better have agreed by chance, not without scatter.
TEST(Curves, EqualDifferencesOfCountsAreNotCertain) {
  const Estimate one = of_counts(1);
  EXPECT_NEAR(one.scatter, 0.02, 1e-15);  // both one trial's worth and the error of one 1 among 50
  EXPECT_NEAR(one.p, p_of_three(0.02, 0.02), 1e-12);
  EXPECT_EQ(one.verdict(), Verdict::kNone);
  const Estimate half = of_counts(25);
  EXPECT_NEAR(half.scatter, 0.02, 1e-15);  // one trial's worth: the trials' own error is 0.07
  EXPECT_NEAR(half.p, p_of_three(0.5, 0.02), 1e-12);
  EXPECT_EQ(half.verdict(), Verdict::kHigher);
  EXPECT_EQ(of_counts(0).p, 1.0);
  EXPECT_EQ(of_counts(50).verdict(), Verdict::kHigher);
}

// In trials with many answers each, one more right answer counts less than a trial.
TEST(Curves, ACountOfManyAnswersScattersLess) {
  std::vector<MeasuredCurve> curves;
  for (uint64_t seed = 1; seed <= 3; ++seed) {
    curves.push_back(curve("base", seed, {0.5}, 2));
    MeasuredCurve& candidate = curves.emplace_back(curve("a", seed, {0.51}, 2));
    candidate.points[0].trials = {0.5, 0.52};  // 0 and 0.02 better: a standard error of 0.01
  }
  const JudgedFigure judged = judge_curves(Figure::kAccuracy, curves, "base");
  EXPECT_NEAR(judged.candidates.at(0).points.at(0).estimate.scatter, 0.01, 1e-15);
  // A loss is no count: equal differences are without scatter.
  EXPECT_EQ(judge_curves(Figure::kLoss, curves, "base").candidates.at(0).points.at(0).estimate.p, 0.0);
}

// Three seeds of `trials` trials that all say the same: an accuracy `difference` above a baseline of 0.25.
Estimate of_agreeing_trials(double difference, size_t trials, int64_t tokens) {
  std::vector<MeasuredCurve> curves;
  for (uint64_t seed = 1; seed <= 3; ++seed) {
    curves.push_back(curve("base", seed, {0.25}, trials, tokens));
    curves.push_back(curve("a", seed, {0.25 + difference}, trials, tokens));
  }
  return judge_curves(Figure::kAccuracy, curves, "base").candidates.at(0).points.at(0).estimate;
}

// Trials that agree have no error, and a single trial has none that is known: one answer's worth remains.
TEST(Curves, NoScatterBelowOneAnswerIsBelieved) {
  for (const size_t trials : {size_t{1}, size_t{2}, size_t{50}}) {
    const Estimate one = of_agreeing_trials(0.125, trials, 8);
    EXPECT_EQ(one.scatter, 0.125) << trials;  // 1 of 8 answers: powers of two, exact
    EXPECT_NEAR(one.p, p_of_three(1.0, 1.0), 1e-12) << trials;
    EXPECT_EQ(one.verdict(), Verdict::kNone) << trials;
    // t(0.975) of two degrees is 4.302653 (tables).
    EXPECT_NEAR(one.half_width, 4.302653 * 0.125 / std::sqrt(3.0), 1e-6) << trials;
    EXPECT_GT(one.smallest_detectable, 0.125) << trials;
    EXPECT_GT(of_agreeing_trials(0.0, trials, 8).half_width, 0.1) << trials;
  }
  // Many answers make the same difference certain.
  EXPECT_EQ(of_agreeing_trials(0.125, 1, 1024).verdict(), Verdict::kHigher);
}

TEST(Curves, WithoutSharedSeedsOneAnswerIsTheLeastToo) {
  std::vector<MeasuredCurve> curves;
  for (uint64_t seed = 1; seed <= 3; ++seed) {
    curves.push_back(curve("base", seed, {0.25}, 1, 8));
    curves.push_back(curve("a", 10 + seed, {0.375}, 1, 8));
  }
  const CurveCandidate candidate = judge_curves(Figure::kAccuracy, curves, "base").candidates.at(0);
  EXPECT_FALSE(candidate.paired);
  EXPECT_EQ(candidate.seeds, 3);
  EXPECT_NEAR(candidate.points[0].estimate.standard_error, 0.125 * std::sqrt(2.0 / 3.0), 1e-15);  // Welch
  EXPECT_EQ(candidate.points[0].estimate.verdict(), Verdict::kNone);
}

TEST(Curves, ASingleVariantHasMeansAlone) {
  const JudgedFigure judged = judge_curves(
      Figure::kLoss, std::vector{curve("base", 1, {1.0, 2.0}), curve("base", 2, {3.0, 5.0})}, "base");
  EXPECT_TRUE(judged.candidates.empty());
  EXPECT_EQ(judged.variants.at(0).means, (std::vector<double>{2.0, 3.5}));
}

TEST(Curves, RefusesWhatCannotBeJudged) {
  const std::vector<MeasuredCurve> curves = {curve("base", 1, {1.0}), curve("a", 1, {1.0})};
  EXPECT_ANY_THROW(judge_curves(Figure::kLoss, curves, "other"));
  EXPECT_ANY_THROW(judge_curves(Figure::kLoss, std::vector{curves[0], curve("a", 1, {1.0, 2.0})}, "base"));
  EXPECT_ANY_THROW(judge_curves(Figure::kLoss, std::vector{curves[0], curve("a", 1, {1.0}, 3)}, "base"));
  EXPECT_ANY_THROW(judge_curves(Figure::kLoss, std::vector{curves[0], curves[1], curves[1]}, "base"));
}

// In 500 tables without differences, with two candidates and five points each, at most one in twenty has a
// false verdict anywhere: 5 %, plus three standard errors of that count (1 %). The baseline that both
// candidates share makes their tests depend on each other, so it is somewhat less.
TEST(Curves, FalseVerdictsOfATableAreAsManyAsSaid) {
  std::mt19937_64 random(7);
  std::normal_distribution<double> noise(0.0, 0.01);
  constexpr int kTables = 500;
  int with_verdict = 0;
  for (int table = 0; table < kTables; ++table) {
    std::vector<MeasuredCurve> curves;
    for (const char* variant : {"base", "a", "b"}) {
      for (uint64_t seed = 1; seed <= 4; ++seed) {
        std::vector<double> means;
        for (int i = 0; i < 5; ++i) means.push_back(3.0 + noise(random));
        curves.push_back(curve(variant, seed, means));
      }
    }
    bool any = false;
    for (const CurveCandidate& candidate : judge_curves(Figure::kLoss, curves, "base").candidates) {
      for (const PointDifference& point : candidate.points) any |= point.estimate.verdict() != Verdict::kNone;
    }
    with_verdict += any ? 1 : 0;
  }
  EXPECT_LT(with_verdict, 0.08 * kTables);
  EXPECT_GT(with_verdict, 0.015 * kTables);
}

}  // namespace
}  // namespace ssgpt::report
