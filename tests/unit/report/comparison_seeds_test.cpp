// What several seeds say of a difference, and what one pair of runs does not.
#include "report/comparison.h"
#include "report/run_files.h"

#include <cmath>
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace ssgpt::report {
namespace {

using testing::Contains;
using testing::Field;
using testing::HasSubstr;
using SeedsTest = RunFilesTest;

// Pairs of Softmax and SSMax, one for each seed from 1 on, that differ by the offset and by `own_noise`.
Options pairs(const std::filesystem::path& root, const std::vector<double>& offsets, double own_noise = 0.0) {
  Options options;
  for (size_t i = 0; i < offsets.size(); ++i) {
    const uint64_t seed = i + 1;
    const std::string number = std::to_string(seed);
    options.runs.push_back(write_run(root / ("a" + number), curve(kSoftmax, seed, 0.0, seed, own_noise)));
    options.runs.push_back(
        write_run(root / ("b" + number), curve(kSsmax, seed, offsets[i], 10 + seed, own_noise)));
  }
  return options;
}

TEST_F(SeedsTest, TwoPairsGiveARoughGuessOfTheSeedsNeeded) {
  const CandidateResult one = compare(pairs(root_, {-0.02, -0.05})).candidates.at(0);
  EXPECT_EQ(one.verdict, Verdict::kNone);
  EXPECT_THAT(one.summary.front(), HasSubstr("from two pairs of runs"));
  EXPECT_NEAR(one.training.scatter, 0.03 / std::sqrt(2.0), 1e-9);
  // Of a d of 0.035 / 0.0212 = 1.65 by the integral of statistics_test.cpp.
  EXPECT_EQ(one.training.seeds_needed, 6);
  EXPECT_THAT(
      one.summary,
      Contains(HasSubstr(
          "As a rough guess from two seeds, whose differences scatter by a standard deviation of 0.0212")));
  EXPECT_THAT(one.summary, testing::Each(testing::Not(testing::ContainsRegex("lower|higher|95 %"))));
}

TEST_F(SeedsTest, ThreePairsFindAKnownDifferenceFarBelowTheNoiseOfACurve) {
  Options options = pairs(root_, {-0.010, -0.011, -0.009}, 0.005);
  const CandidateResult lower = compare(options).candidates.at(0);
  EXPECT_EQ(lower.verdict, Verdict::kLower);
  EXPECT_THAT(lower.summary.front(),
              testing::StartsWith("SSMax has a lower training loss than Softmax: -0.0"));
  EXPECT_THAT(lower.summary, Contains(HasSubstr("The training loss over the window decides.")));
  options.baseline = options.runs.back();
  const Comparison turned = compare(options);
  EXPECT_EQ(turned.candidates.at(0).verdict, Verdict::kHigher);
  EXPECT_EQ(turned.variants[turned.baseline].variant.label, "SSMax");
  EXPECT_NEAR(turned.candidates.at(0).training.mean, -lower.training.mean, 1e-12);
}

TEST_F(SeedsTest, TheWholeCurveAndTheTokensAreJudgedBySeed) {
  // Straight lines, from which both follow: the candidate is ahead by 40, 50 and 60 of 400 steps.
  Options options;
  for (uint64_t seed = 1; seed <= 3; ++seed) {
    const std::string number = std::to_string(seed);
    FakeRun softmax = curve(kSoftmax, seed, 0.0, seed, 0.0);
    FakeRun ssmax = curve(kSsmax, seed, 0.0, 10 + seed, 0.0);
    const double ahead = 30.0 + 10.0 * static_cast<double>(seed);
    softmax.loss = [](int64_t step) {
      return 5.0 - 0.01 * static_cast<double>(step);
    };
    ssmax.loss = [ahead](int64_t step) {
      return 5.0 - 0.01 * (static_cast<double>(step) + ahead);
    };
    options.runs.push_back(write_run(root_ / ("a" + number), softmax));
    options.runs.push_back(write_run(root_ / ("b" + number), ssmax));
  }
  const Comparison result = compare(options);
  const CandidateResult& one = result.candidates.at(0);
  EXPECT_NEAR(one.whole_curve.mean, -0.5, 1e-9);
  EXPECT_NEAR(one.whole_curve.standard_error, 0.1 / std::sqrt(3.0), 1e-9);
  // All Softmax runs end at the same smoothed loss, which is the worst; the smoothing's start-up has passed.
  EXPECT_NEAR(result.common_loss, result.target_loss, 1e-12);
  double mean = 0.0;
  for (size_t i = 0; i < 3; ++i) {
    const double expected = std::log((400.0 - 40.0 - 10.0 * static_cast<double>(i)) / 400.0);
    EXPECT_NEAR(one.seeds.at(i).tokens, expected, 1e-6);
    EXPECT_NEAR(one.seeds.at(i).whole_curve, -0.4 - 0.1 * static_cast<double>(i), 1e-9);
    mean += expected / 3;
  }
  EXPECT_NEAR(one.tokens.mean, mean, 1e-6);
  EXPECT_EQ(one.tokens.verdict(), Verdict::kLower);
  EXPECT_THAT(
      one.summary,
      Contains(HasSubstr("SSMax has a lower training loss over the whole curve than Softmax: -0.5000")));
  EXPECT_THAT(one.summary,
              Contains(HasSubstr("SSMax needs fewer tokens than Softmax to a smoothed training loss of 1.")));
  EXPECT_THAT(one.summary,
              Contains(HasSubstr(fmt::format("by {:.1f} % (95 % interval -", 100 * (1 - std::exp(mean))))));
}

TEST_F(SeedsTest, ACorrectedPThatTakesTheVerdictAwayIsSaid) {
  // Differences of t = 5 with two degrees of freedom, p = 0.038 by itself.
  const double error = 0.001 / std::sqrt(3.0);
  Options options = pairs(root_, {-5 * error - 0.001, -5 * error, -5 * error + 0.001});
  EXPECT_EQ(compare(options).candidates.at(0).verdict, Verdict::kLower);
  for (uint64_t seed = 1; seed <= 3; ++seed) {
    const double offset = 0.01 * (static_cast<double>(seed) - 2.0);
    options.runs.push_back(
        write_run(root_ / ("c" + std::to_string(seed)),
                  curve(config::AttentionKind::kSsmaxFixed, seed, offset, 20 + seed, 0.0)));
  }
  const CandidateResult one = compare(options).candidates.at(0);
  EXPECT_LT(one.training.high(), 0.0);
  EXPECT_EQ(one.verdict, Verdict::kNone);
  EXPECT_THAT(one.summary.front(), HasSubstr("corrected for 2 candidates after Holm 0.0755"));
  EXPECT_THAT(one.summary.front(), HasSubstr("Its interval by itself excludes zero"));
}

TEST_F(SeedsTest, OnePairGivesTheDifferenceAndItsCurvesNoiseButNoVerdict) {
  FakeRun softmax = curve(kSoftmax, 1, 0.0, 1);
  FakeRun ssmax = curve(kSsmax, 1, -0.01, 2);
  softmax.validation = {{200, 3.0}, {400, 2.5}};
  ssmax.validation = {{200, 2.99}, {400, 2.48}};
  const Comparison result = compare({.runs = {write_run(root_ / "a", softmax), write_run(root_ / "b", ssmax)},
                                     .baseline = {},
                                     .window = {}});
  ASSERT_EQ(result.candidates.size(), 1U);
  const CandidateResult& one = result.candidates[0];
  EXPECT_EQ(result.window.first_step, 321);
  // 80 differences of standard deviation 0.005 sqrt(2): the mean's is 0.0008; 4 of these.
  EXPECT_NEAR(one.training.mean, -0.01, 0.0032);
  EXPECT_NEAR(one.training_noise.standard_error, 0.0008, 0.0005);
  EXPECT_TRUE(one.training_noise.known);
  // Far outside its curve's noise, and yet of one seed.
  EXPECT_LT(one.training_noise.mean + 3 * one.training_noise.standard_error, 0.0);
  EXPECT_EQ(one.training.method, Method::kNone);
  EXPECT_EQ(one.verdict, Verdict::kNone);
  EXPECT_TRUE(one.attention_alone);
  EXPECT_THAT(one.summary.front(),
              testing::StartsWith("No verdict on the training loss: SSMax minus Softmax is -0.0"));
  EXPECT_THAT(one.summary.front(), HasSubstr("from one pair of runs. A verdict needs 3 seeds or more"));
  EXPECT_THAT(one.summary, Contains(HasSubstr("The noise along the curve of this one pair is 0.000")));
  EXPECT_THAT(one.summary,
              Contains(HasSubstr("the variance between seeds, often several times as much, is not in it")));
  // 5.6535: the noncentrality at which two degrees have a power of 0.8 (see statistics_test.cpp).
  EXPECT_THAT(one.summary,
              Contains(HasSubstr(fmt::format("standard deviation of up to {:.4f}, 5 where",
                                             std::abs(one.training.mean) * std::sqrt(3.0) / 5.6534893))));
  EXPECT_THAT(one.summary, testing::Each(testing::Not(testing::ContainsRegex("lower|higher|95 %"))));
  ASSERT_TRUE(one.validation.has_value());
  EXPECT_NEAR(one.validation->mean, -0.02, 1e-12);
  EXPECT_EQ(one.validation->method, Method::kNone);
  EXPECT_FALSE(one.validation_noise.known);
  EXPECT_THAT(result.notes, Contains(Field(&Note::text, HasSubstr("choice of validation text"))));
  EXPECT_EQ(result.variants[0].variant.label, "Softmax");
  EXPECT_EQ(result.variants[1].variant.label, "SSMax");
}

TEST_F(SeedsTest, OppositeValidationTakesTheVerdictAway) {
  Options options;
  for (uint64_t seed = 1; seed <= 3; ++seed) {
    const std::string number = std::to_string(seed);
    FakeRun softmax = curve(kSoftmax, seed, 0.0, seed);
    FakeRun ssmax = curve(kSsmax, seed, -0.05, 10 + seed);
    for (int64_t step = 322; step <= 400; step += 2) {
      softmax.validation[step] = 3.0;
      ssmax.validation[step] = 3.1 + 0.001 * static_cast<double>(seed);
    }
    options.runs.push_back(write_run(root_ / ("a" + number), softmax));
    options.runs.push_back(write_run(root_ / ("b" + number), ssmax));
  }
  const Comparison result = compare(options);
  EXPECT_EQ(result.candidates[0].training.verdict(), Verdict::kLower);
  EXPECT_EQ(result.candidates[0].validation->verdict(), Verdict::kHigher);
  EXPECT_EQ(result.candidates[0].verdict, Verdict::kNone);
  EXPECT_THAT(result.candidates[0].summary.front(), HasSubstr("opposite directions"));
}

TEST_F(SeedsTest, GroupsSeedsAndTakesTheErrorBetweenThem) {
  const Options options = pairs(root_, {-0.022, -0.024, -0.026, -0.028});
  const Comparison result = compare(options);
  ASSERT_EQ(result.variants.size(), 2U);
  EXPECT_EQ(result.variants[0].variant.runs.size(), 4U);
  const CandidateResult& one = result.candidates[0];
  EXPECT_EQ(one.training.method, Method::kSeedsPaired);
  EXPECT_EQ(one.training.seeds, 4);
  EXPECT_NEAR(one.training.mean, -0.025, 1e-9);
  // The scatter of -0.022, -0.024, -0.026, -0.028 over the square root of 4.
  EXPECT_NEAR(one.training.standard_error, 0.002 * std::sqrt(5.0 / 3.0) / 2.0, 1e-9);
  EXPECT_EQ(one.verdict, Verdict::kLower);
  EXPECT_EQ(one.seeds.size(), 4U);
}

}  // namespace
}  // namespace ssgpt::report
