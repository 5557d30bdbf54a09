// What takes a verdict away, and what makes more differ than attention.
#include "report/comparison.h"
#include "report/run_files.h"

#include <cmath>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <limits>
#include <optional>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace ssgpt::report {
namespace {

using testing::Contains;
using testing::Field;
using testing::HasSubstr;
using ComparabilityTest = RunFilesTest;

FakeRun broken_from(int64_t first, FakeRun run) {
  const auto whole = run.loss;
  run.loss = [first, whole](int64_t step) {
    return step >= first ? std::numeric_limits<double>::quiet_NaN() : whole(step);
  };
  return run;
}

// The two seeds that survived lie far apart from the baseline: alone they would carry a verdict.
TEST_F(ComparabilityTest, ADivergedSeedTakesTheVerdictAwayAndLeads) {
  Options options;
  for (uint64_t seed = 1; seed <= 3; ++seed) {
    const std::string number = std::to_string(seed);
    options.runs.push_back(write_run(root_ / ("a" + number), curve(kSoftmax, seed, 0.0, seed)));
    const FakeRun ssmax = curve(kSsmax, seed, -0.5, 10 + seed);
    options.runs.push_back(write_run(root_ / ("b" + number), seed == 2 ? broken_from(361, ssmax) : ssmax));
  }
  const Comparison result = compare(options);
  const CandidateResult& one = result.candidates.at(0);
  EXPECT_LT(one.training.high(), 0.0);  // the finite losses by themselves
  EXPECT_EQ(one.verdict, Verdict::kNone);
  EXPECT_EQ(one.training.verdict(), Verdict::kNone);
  EXPECT_EQ(
      one.summary.front(),
      "No verdict: SSMax diverged in 1 of 3 seeds (seed 2: the training loss is not finite at 40 of the "
      "80 points of the window).");
  EXPECT_THAT(one.summary, testing::Not(Contains(HasSubstr("has a lower"))));
  EXPECT_THAT(one.summary, testing::Not(Contains(HasSubstr("tokens, Softmax after"))));
  // The curve of the mean ends where one of its runs does.
  EXPECT_TRUE(std::isfinite(result.variants.at(1).smoothed.at(359)));
  EXPECT_TRUE(std::isnan(result.variants.at(1).smoothed.at(360)));
  EXPECT_TRUE(std::isnan(one.smoothed_difference.back()));
}

TEST_F(ComparabilityTest, ADivergedSeedWithoutAPartnerOrOfTheBaselineCountsToo) {
  const auto a1 = write_run(root_ / "a1", curve(kSoftmax, 1, 0.0, 1));
  const auto a2 = write_run(root_ / "a2", broken_from(1, curve(kSoftmax, 2, 0.0, 2)));
  const auto b1 = write_run(root_ / "b1", curve(kSsmax, 1, -0.5, 3));
  for (const auto& baseline : {a1, b1}) {
    const Comparison result = compare({.runs = {a1, a2, b1}, .baseline = baseline, .window = {}});
    const CandidateResult& one = result.candidates.at(0);
    EXPECT_EQ(one.verdict, Verdict::kNone);
    EXPECT_THAT(one.summary.front(), HasSubstr("Softmax diverged in 1 of 2 seeds (seed 2: "));
  }
}

TEST_F(ComparabilityTest, OfUnpairedSeedsADivergedOneCountsToo) {
  const Comparison result =
      compare({.runs = {write_run(root_ / "a1", curve(kSoftmax, 1, 0.0, 1)),
                        write_run(root_ / "a2", curve(kSoftmax, 2, 0.0, 2)),
                        write_run(root_ / "b3", curve(kSsmax, 3, -3.0, 3)),
                        write_run(root_ / "b4", curve(kSsmax, 4, -3.0, 4)),
                        write_run(root_ / "b5", broken_from(1, curve(kSsmax, 5, 0, 5)))},
               .baseline = {},
               .window = {}});
  const CandidateResult& one = result.candidates.at(0);
  EXPECT_LT(one.training.high(), 0.0);
  EXPECT_EQ(one.verdict, Verdict::kNone);
  EXPECT_THAT(one.summary.front(), HasSubstr("SSMax diverged in 1 of 3 seeds"));
}

TEST_F(ComparabilityTest, ADivergedValidationTakesTheVerdictAway) {
  FakeRun softmax = curve(kSoftmax, 1, 0.0, 1);
  FakeRun ssmax = curve(kSsmax, 1, -0.5, 2);
  softmax.validation = {{200, 3.0}, {400, 2.5}};
  ssmax.validation = {{200, 2.99}, {400, std::numeric_limits<double>::quiet_NaN()}};
  const Comparison result = compare({.runs = {write_run(root_ / "a", softmax), write_run(root_ / "b", ssmax)},
                                     .baseline = {},
                                     .window = {}});
  const CandidateResult& one = result.candidates.at(0);
  EXPECT_EQ(one.verdict, Verdict::kNone);
  EXPECT_THAT(one.summary.front(),
              HasSubstr("SSMax diverged (seed 1: the validation loss is not finite 1 time"));
  EXPECT_THAT(one.summary, testing::Not(Contains(HasSubstr("nan"))));
}

TEST_F(ComparabilityTest, OtherInitialWeightsAreMoreThanAttention) {
  FakeRun tuned = curve(kSsmax, 1, -0.02, 2);
  tuned.parent = "runs/other/checkpoints/step-00000100";
  const Comparison result =
      compare({.runs = {write_run(root_ / "a", curve(kSoftmax, 1, 0.0, 1)), write_run(root_ / "b", tuned)},
               .baseline = {},
               .window = {}});
  EXPECT_FALSE(result.candidates.at(0).attention_alone);
  EXPECT_THAT(
      result.candidates.at(0).settings,
      Contains(testing::AllOf(
          Field(&SettingDifference::key, "parent"), Field(&SettingDifference::baseline, "none"),
          Field(&SettingDifference::candidate, tuned.parent), Field(&SettingDifference::material, true))));
}

// --init-from begins at step 0, even with weights of the run that it is compared with.
TEST_F(ComparabilityTest, InitialWeightsOfTheOtherRunAreMoreThanAttention) {
  const auto a = write_run(root_ / "a", curve(kSoftmax, 1, 0.0, 1));
  FakeRun tuned = curve(kSsmax, 1, -0.02, 2);
  tuned.parent = (a / "checkpoints/step-00000100").string();
  const Comparison result =
      compare({.runs = {a, write_run(root_ / "b", tuned)}, .baseline = {}, .window = {}});
  EXPECT_FALSE(result.candidates.at(0).attention_alone);
}

TEST_F(ComparabilityTest, EqualInitialWeightsLeaveAttentionAlone) {
  FakeRun softmax = curve(kSoftmax, 1, 0.0, 1);
  FakeRun ssmax = curve(kSsmax, 1, -0.02, 2);
  softmax.parent = ssmax.parent = "runs/other/checkpoints/step-00000100";
  const Comparison result = compare({.runs = {write_run(root_ / "a", softmax), write_run(root_ / "b", ssmax)},
                                     .baseline = {},
                                     .window = {}});
  EXPECT_TRUE(result.candidates.at(0).attention_alone);
}

TEST_F(ComparabilityTest, ARunFromOtherWeightsRepeatsNone) {
  FakeRun tuned = curve(kSoftmax, 1, -0.02, 2);
  tuned.parent = "runs/other/checkpoints/step-00000100";
  const Comparison result =
      compare({.runs = {write_run(root_ / "a", curve(kSoftmax, 1, 0.0, 1)), write_run(root_ / "b", tuned),
                        write_run(root_ / "c", curve(kSsmax, 1, 0.0, 3))},
               .baseline = {},
               .window = {}});
  ASSERT_EQ(result.variants.size(), 3U);
  EXPECT_TRUE(result.runs.at(1).used);
  EXPECT_THAT(result.notes, testing::Not(Contains(Field(&Note::text, HasSubstr("repeats")))));
  EXPECT_FALSE(result.candidates.at(0).attention_alone);
}

// Lines of ten steps and log.every of two, as after a resume that logs more often: the first line alone looks
// like that of a fork.
TEST_F(ComparabilityTest, InitialWeightsOfTheOtherRunAreNoForkWhateverItLogsLater) {
  const auto a = write_run(root_ / "a", curve(kSoftmax, 1, 0.0, 1));
  FakeRun tuned = curve(kSsmax, 1, -0.02, 2);
  tuned.parent = (a / "checkpoints/step-00000100").string();
  tuned.config.log.every = 10;
  const auto b = write_run(root_ / "b", tuned);
  tuned.config.log.every = 2;
  std::ofstream(b / "config.yaml") << config::dump(tuned.config);
  const Comparison result = compare({.runs = {a, b}, .baseline = {}, .window = {}});
  EXPECT_FALSE(result.candidates.at(0).attention_alone);
  EXPECT_EQ(result.grid.front().first_step, 1);
}

// Before validation_since the losses are of another text, on either side.
TEST_F(ComparabilityTest, ValidationLossesOfAReplacedTextAreLeftOut) {
  const auto compared = [&](const char* name, int64_t since_a, int64_t since_b) {
    FakeRun softmax = curve(kSoftmax, 1, 0.0, 1);
    FakeRun ssmax = curve(kSsmax, 1, -0.02, 2);
    softmax.validation_fingerprint = ssmax.validation_fingerprint = "v";
    softmax.validation = {{100, 9.0}, {200, 3.0}, {300, 2.75}, {400, 2.5}};
    ssmax.validation = {{100, 3.5}, {200, 2.99}, {300, 2.74}, {400, 2.49}};
    softmax.validation_since = since_a;
    ssmax.validation_since = since_b;
    const std::filesystem::path directory = root_ / name;
    return compare({.runs = {write_run(directory / "a", softmax), write_run(directory / "b", ssmax)},
                    .baseline = {},
                    .window = {}});
  };
  using testing::ElementsAre;
  EXPECT_THAT(compared("never", 0, 0).validation_steps, ElementsAre(100, 200, 300, 400));
  const Comparison one = compared("one", 100, 0);
  EXPECT_THAT(one.validation_steps, ElementsAre(200, 300, 400));
  EXPECT_THAT(one.notes, Contains(Field(&Note::text, HasSubstr("since step 100: its validation losses up to "
                                                               "there (1) are left out"))));
  EXPECT_THAT(compared("both", 100, 250).validation_steps, ElementsAre(300, 400));
}

// A text shorter than what is asked for is read whole: runs that ask for different amounts read the same.
TEST_F(ComparabilityTest, ValidationWindowsAreThoseThatWereRead) {
  const auto steps_of = [&](const char* name, std::optional<int64_t> first, std::optional<int64_t> second,
                            int64_t batches) {
    FakeRun softmax = curve(kSoftmax, 1, 0.0, 1);
    FakeRun ssmax = curve(kSsmax, 1, -0.02, 2);
    softmax.validation = ssmax.validation = {{400, 2.5}};
    softmax.validation_windows = first;
    ssmax.validation_windows = second;
    ssmax.config.evaluate.batches = batches;
    const std::filesystem::path directory = root_ / name;
    return compare({.runs = {write_run(directory / "a", softmax), write_run(directory / "b", ssmax)},
                    .baseline = {},
                    .window = {}})
        .validation_steps.size();
  };
  const int64_t batches = small_config().evaluate.batches;
  EXPECT_EQ(steps_of("short text", 7, 7, 2 * batches), 1U);
  EXPECT_EQ(steps_of("other windows", 7, 8, batches), 0U);
  EXPECT_EQ(steps_of("unknown, more asked for", 7, {}, 2 * batches), 0U);
}

// The paths of the shards say nothing where their fingerprints are known.
TEST_F(ComparabilityTest, ValidationTextIsToldByItsFingerprint) {
  const auto steps_of = [&](const char* name, const std::string& first, const std::string& second,
                            bool same_path) {
    FakeRun softmax = curve(kSoftmax, 1, 0.0, 1);
    FakeRun ssmax = curve(kSsmax, 1, -0.02, 2);
    softmax.validation = ssmax.validation = {{400, 2.5}};
    softmax.config.data.validation = {"validation.bin"};
    ssmax.config.data.validation = {same_path ? "validation.bin" : "elsewhere/validation.bin"};
    softmax.validation_fingerprint = first;
    ssmax.validation_fingerprint = second;
    const std::filesystem::path directory = root_ / name;
    return compare({.runs = {write_run(directory / "a", softmax), write_run(directory / "b", ssmax)},
                    .baseline = {},
                    .window = {}})
        .validation_steps.size();
  };
  EXPECT_EQ(steps_of("moved", "v", "v", false), 1U);
  EXPECT_EQ(steps_of("rewritten", "v", "w", true), 0U);
  EXPECT_EQ(steps_of("unknown, other path", "v", "", false), 0U);
  EXPECT_EQ(steps_of("unknown, same path", "", "w", true), 1U);
}

}  // namespace
}  // namespace ssgpt::report
