// How often each outcome has a verdict, where the runs differ in nothing and where they differ: whole
// experiments of made-up curves, through everything from the losses of the steps to the verdicts.
#include "report/outcomes.h"

#include <array>
#include <cmath>
#include <cstdint>
#include <random>
#include <vector>

#include <gtest/gtest.h>

namespace ssgpt::report {
namespace {

constexpr int64_t kSteps = 200;
constexpr uint64_t kSeeds = 4;

// A falling curve, the noise of the text, which the runs of a seed share, and how far each has drifted from
// the seed's common beginning; an effect that grows over the first steps.
std::vector<double> train(std::mt19937_64& random, const std::vector<double>& text, double effect) {
  std::normal_distribution<double> normal;
  std::vector<double> losses;
  double apart = 0.0;
  for (int64_t step = 1; step <= kSteps; ++step) {
    const double at = static_cast<double>(step);
    apart += 0.0006 * normal(random);
    losses.push_back(2.0 + 4.0 / std::sqrt(at) + text[static_cast<size_t>(step - 1)] +
                     effect * std::min(1.0, at / 30.0) + apart + 0.003 * normal(random));
  }
  return losses;
}

// Baseline and candidate of kSeeds pairs, as compare() leaves them for judge_outcomes().
Comparison experiment(std::mt19937_64& random, double effect) {
  std::normal_distribution<double> normal;
  Comparison comparison;
  for (int64_t step = 1; step <= kSteps; ++step) comparison.grid.push_back({step, step, 64 * step});
  for (int64_t step = 10; step <= kSteps; step += 10) comparison.validation_steps.push_back(step);
  comparison.window = select_window(comparison.grid, std::nullopt);
  comparison.variants.resize(2);
  CandidateResult candidate;
  candidate.variant = 1;
  candidate.paired = true;
  for (uint64_t seed = 1; seed <= kSeeds; ++seed) {
    std::vector<double> text;
    for (int64_t step = 1; step <= kSteps; ++step) text.push_back(0.05 * normal(random));
    for (const size_t side : {size_t{0}, size_t{1}}) {
      RunResult run;
      run.data.config.run.seed = seed;
      run.ending.compared = true;
      run.loss = train(random, text, side == 0 ? 0.0 : effect);
      // On one text of its own, the same for all.
      for (const int64_t step : comparison.validation_steps)
        run.validation.push_back(run.loss[static_cast<size_t>(step - 1)] -
                                 text[static_cast<size_t>(step - 1)]);
      comparison.variants[side].variant.runs.push_back(comparison.runs.size());
      comparison.runs.push_back(run);
    }
    const size_t own = comparison.runs.size() - 1;
    candidate.pairs.emplace_back(own, own - 1);
    candidate.runs.push_back(own);
    candidate.baseline_runs.push_back(own - 1);
    candidate.seeds.push_back({.seed = seed});
  }
  candidate.difference.assign(kSteps, 0.0);  // its noise plays no part in a verdict
  candidate.validation_difference.assign(comparison.validation_steps.size(), 0.0);
  comparison.candidates.push_back(candidate);
  return comparison;
}

// The share of experiments in which each of kOutcomes has a verdict, and the whole comparison has one.
struct Shares {
  std::array<double, kOutcomes.size()> outcome = {};
  double whole = 0.0;
};

Shares repeat(double effect, int experiments, uint64_t seed) {
  std::mt19937_64 random(seed);
  Shares shares;
  for (int i = 0; i < experiments; ++i) {
    Comparison comparison = experiment(random, effect);
    judge_outcomes(comparison);
    const CandidateResult& one = comparison.candidates.front();
    for (size_t k = 0; k < kOutcomes.size(); ++k)
      shares.outcome[k] +=
          estimate_of(one, kOutcomes[k])->verdict() != Verdict::kNone ? 1.0 / experiments : 0.0;
    shares.whole += one.verdict != Verdict::kNone ? 1.0 / experiments : 0.0;
  }
  return shares;
}

// 1.5 points are two standard deviations of a binomial share of 5 % at 1,000 experiments (0.69 points).
TEST(Outcomes, WhereNothingDiffersEachHasAFalseVerdictInOneOfTwenty) {
  const Shares shares = repeat(/*effect=*/0.0, /*experiments=*/1000, /*seed=*/1);
  for (size_t k = 0; k < kOutcomes.size(); ++k)
    EXPECT_NEAR(shares.outcome[k], 0.05, 0.015) << key(kOutcomes[k]);
  EXPECT_LE(shares.whole, 0.065);
}

// Three standard deviations of a share at 250 experiments are 9.5 points at most. The tokens are counted over
// three quarters of the curve, so they see about as much as its mean does.
TEST(Outcomes, TheShareOfVerdictsRisesWithTheEffect) {
  const Shares some = repeat(/*effect=*/-0.01, /*experiments=*/250, /*seed=*/2);
  const Shares much = repeat(/*effect=*/-0.04, /*experiments=*/250, /*seed=*/3);
  for (size_t k = 0; k < kOutcomes.size(); ++k) {
    EXPECT_GT(some.outcome[k], 0.15) << key(kOutcomes[k]);
    EXPECT_GT(much.outcome[k], 0.95) << key(kOutcomes[k]);
  }
  EXPECT_NEAR(some.outcome[3], some.outcome[2], 0.15);
}

}  // namespace
}  // namespace ssgpt::report
