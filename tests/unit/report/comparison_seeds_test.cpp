// What several seeds show about a difference, and what one pair of runs does not.
#include "report/comparison.h"
#include "report/outcomes.h"
#include "report/output.h"
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
  // For d = 0.035 / 0.0212 = 1.65, by the integral of statistics_test.cpp.
  EXPECT_EQ(one.training.seeds_needed, 6);
  EXPECT_THAT(
      one.summary,
      Contains(HasSubstr(
          "As a rough guess from two seeds, whose differences scatter by a standard deviation of 0.0212")));
  EXPECT_THAT(one.summary,
              testing::Each(testing::Not(testing::ContainsRegex("lower|higher|95 %|fewer|more tokens"))));
}

// At a loss of 2.05 to 4.99 fp32 values lie 2.4e-7 and 4.8e-7 apart: equal differences of that size or less
// have a p of almost 0, in every repetition, whatever runs they come from.
TEST_F(SeedsTest, WhatRoundingAloneCouldGiveHasNoVerdict) {
  for (const double offset : {2e-8, -2.3e-7}) {
    std::filesystem::remove_all(root_);
    const CandidateResult one = compare(pairs(root_, {offset, offset, offset, offset})).candidates.at(0);
    EXPECT_EQ(one.training.rounding, 0x1p-22);  // from 2 to 4
    for (const OutcomeKind kind : {OutcomeKind::kTraining, OutcomeKind::kWholeCurve, OutcomeKind::kTokens}) {
      EXPECT_LT(estimate_of(one, kind)->p, 1e-3) << key(kind);
      EXPECT_EQ(estimate_of(one, kind)->verdict(), Verdict::kNone) << key(kind);
    }
    EXPECT_THAT(one.summary.front(), HasSubstr("which the rounding of fp32 losses alone could give"));
  }
  std::filesystem::remove_all(root_);
  const CandidateResult more = compare(pairs(root_, {1e-6, 1e-6, 1e-6, 1e-6})).candidates.at(0);
  for (const OutcomeKind kind : {OutcomeKind::kTraining, OutcomeKind::kWholeCurve, OutcomeKind::kTokens}) {
    EXPECT_EQ(estimate_of(more, kind)->verdict(), Verdict::kHigher) << key(kind);
  }
}

TEST(LossRounding, IsTheSpacingOfFp32) {
  EXPECT_EQ(loss_rounding(2.0), 0x1p-22);
  EXPECT_EQ(loss_rounding(3.9), 0x1p-22);
  EXPECT_EQ(loss_rounding(1.5), 0x1p-23);
  EXPECT_EQ(loss_rounding(10.4), 0x1p-20);
  EXPECT_EQ(loss_rounding(std::nan("")), 0.0);
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

// Curves that fall with the logarithm of the steps, from which both follow: the candidate needs 0.9, 0.85 and
// 0.8 of the tokens, and is lower by the logarithm of that everywhere.
Options faster_pairs(const std::filesystem::path& root) {
  Options options;
  for (uint64_t seed = 1; seed <= 3; ++seed) {
    const std::string number = std::to_string(seed);
    FakeRun softmax = curve(kSoftmax, seed, 0.0, seed, 0.0);
    FakeRun ssmax = curve(kSsmax, seed, 0.0, 10 + seed, 0.0);
    const double share = 0.95 - 0.05 * static_cast<double>(seed);
    softmax.loss = [](int64_t step) {
      return 8.0 - std::log(static_cast<double>(step));
    };
    ssmax.loss = [share](int64_t step) {
      return 8.0 - std::log(static_cast<double>(step) / share);
    };
    options.runs.push_back(write_run(root / ("a" + number), softmax));
    options.runs.push_back(write_run(root / ("b" + number), ssmax));
  }
  return options;
}

TEST_F(SeedsTest, TheWholeCurveAndTheTokensAreJudgedBySeed) {
  Options options = faster_pairs(root_);
  const CandidateResult one = compare(options).candidates.at(0);
  double mean = 0.0;
  for (size_t i = 0; i < 3; ++i) {
    const double expected = std::log(0.9 - 0.05 * static_cast<double>(i));
    EXPECT_NEAR(one.seeds.at(i).tokens, expected, 2e-5);  // see tokens_test.cpp
    EXPECT_NEAR(one.seeds.at(i).whole_curve, expected, 1e-9);
    mean += expected / 3;
  }
  EXPECT_NEAR(one.whole_curve.mean, mean, 1e-9);
  EXPECT_NEAR(one.tokens.mean, mean, 2e-5);
  EXPECT_EQ(one.tokens.verdict(), Verdict::kLower);
  EXPECT_THAT(one.summary,
              Contains(HasSubstr(fmt::format(
                  "SSMax has a lower training loss over the whole curve than Softmax: {:.4f}", mean))));
  EXPECT_THAT(
      one.summary,
      Contains(HasSubstr(fmt::format("SSMax needs {:.1f} % fewer tokens than Softmax to reach the same "
                                     "training loss, on average over losses from ",
                                     100 * (1 - std::exp(mean))))));
  // Seen from the other side, the same ratio is another change in per cent.
  options.baseline = options.runs.back();
  EXPECT_THAT(compare(options).candidates.at(0).summary,
              Contains(HasSubstr(fmt::format("Softmax needs {:.1f} % more tokens than SSMax to reach",
                                             100 * (std::exp(-mean) - 1)))));
}

// The window is whole, so its verdict stands; the two outcomes of the whole curve lack what was not finite.
TEST_F(SeedsTest, LossesThatAreNotFiniteBeforeTheWindowTakeTheWholeCurvesVerdictsAway) {
  Options options = faster_pairs(root_);
  FakeRun broken = curve(kSsmax, 3, 0.0, 13, 0.0);
  broken.loss = [](int64_t step) {
    return step >= 100 && step < 200 ? std::nan("") : 8.0 - std::log(static_cast<double>(step) / 0.8);
  };
  write_run(root_ / "b3", broken);
  const CandidateResult one = compare(options).candidates.at(0);
  EXPECT_FALSE(one.failed);
  EXPECT_EQ(one.verdict, Verdict::kLower);
  EXPECT_LT(one.whole_curve.high(), 0.0);  // the finite losses by themselves
  EXPECT_EQ(one.whole_curve.verdict(), Verdict::kNone);
  EXPECT_EQ(one.tokens.verdict(), Verdict::kNone);
  EXPECT_EQ(one.tokens.missing, 1);
  EXPECT_THAT(one.summary, Contains(testing::AllOf(
                               HasSubstr("No verdict on the training loss over the whole curve: "),
                               HasSubstr("counting only what did not fail, which hides the failure"))));
}

TEST_F(SeedsTest, EqualRunsAreSaidToBeEqualAndHaveNoPower) {
  const CandidateResult one = compare(pairs(root_, {0.0, 0.0, 0.0})).candidates.at(0);
  EXPECT_EQ(one.summary.front(),
            "No verdict on the training loss: SSMax and Softmax are equal over steps 321 to 400.");
  EXPECT_THAT(one.summary,
              Contains(HasSubstr("SSMax and Softmax need equally many tokens to reach the same")));
  EXPECT_THAT(one.summary,
              testing::Each(testing::Not(testing::ContainsRegex("0\\.0|chance alone|fewer|more"))));
}

TEST_F(SeedsTest, DifferencesFarBelowTheUsualDigitsKeepTwoOfTheirInterval) {
  const CandidateResult one = compare(pairs(root_, {-3.1e-6, -3.0e-6, -3.2e-6})).candidates.at(0);
  // t of 2 degrees times 1e-7 / sqrt(3) is 2.5e-7.
  EXPECT_THAT(one.summary.front(), HasSubstr("than Softmax: -0.00000310 nats per token"));
  EXPECT_THAT(one.summary.front(), HasSubstr("95 % interval -0.00000335 to -0.00000285"));
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
              Contains(HasSubstr(
                  "it does not include the scatter between seeds, which is often several times as large")));
  // 5.6535: the noncentrality at which two degrees have a power of 0.8 (see statistics_test.cpp).
  EXPECT_THAT(one.summary,
              Contains(HasSubstr(fmt::format("standard deviation of up to {:.4f}, 5 where",
                                             std::abs(one.training.mean) * std::sqrt(3.0) / 5.6534893))));
  EXPECT_THAT(one.summary,
              testing::Each(testing::Not(testing::ContainsRegex("lower|higher|95 %|fewer|more tokens"))));
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
  EXPECT_THAT(result.candidates[0].summary.at(1),
              testing::StartsWith("The training loss by itself would be lower: "));
  EXPECT_THAT(result.candidates[0].summary,
              testing::Each(testing::Not(HasSubstr("has a lower training loss than"))));
  EXPECT_THAT(to_table(result), testing::ContainsRegex("SSMax, training .* no verdict\n"));
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
