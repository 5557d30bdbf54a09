// What takes a verdict away, and what makes runs differ in more than attention.
#include "core/error.h"
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

// The files may have moved, and others may stand in their place.
TEST_F(ComparabilityTest, TheTokenizerIsToldByTheFingerprintInTheRecord) {
  FakeRun one = curve(kSoftmax, 1, 0.0, 1);
  FakeRun other = curve(kSsmax, 1, 0.0, 2);
  one.config.data.tokenizer = "a/t.model";
  other.config.data.tokenizer = "b/t.model";
  one.tokenizer_fingerprint = other.tokenizer_fingerprint = "x";
  Options options;
  options.runs = {write_run(root_ / "a", one), write_run(root_ / "b", other)};
  const auto is_tokenizer = [](bool material) {
    return testing::AllOf(Field(&SettingDifference::key, "data.tokenizer"),
                          Field(&SettingDifference::material, material));
  };
  const Comparison same = compare(options);
  EXPECT_THAT(same.candidates.at(0).settings, Contains(is_tokenizer(false)));
  EXPECT_THAT(same.notes, testing::Not(Contains(Field(&Note::text, HasSubstr("tokenizer")))));
  other.config.data.tokenizer = "a/t.model";
  other.tokenizer_fingerprint = "y";
  write_run(root_ / "b", other);
  try {
    compare(options);
    ADD_FAILURE() << "they were compared";
  } catch (const core::UsageError& error) {
    EXPECT_THAT(error.what(),
                testing::AllOf(HasSubstr("a/t.model, checksum x"), HasSubstr("a/t.model, checksum y")));
  }
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
                        write_run(root_ / "a3", curve(kSoftmax, 6, 0.0, 6)),
                        write_run(root_ / "b3", curve(kSsmax, 3, -3.0, 3)),
                        write_run(root_ / "b4", curve(kSsmax, 4, -3.0, 4)),
                        write_run(root_ / "b6", curve(kSsmax, 7, -3.0, 7)),
                        write_run(root_ / "b5", broken_from(1, curve(kSsmax, 5, 0, 5)))},
               .baseline = {},
               .window = {}});
  const CandidateResult& one = result.candidates.at(0);
  EXPECT_LT(one.training.high(), 0.0);
  EXPECT_EQ(one.verdict, Verdict::kNone);
  EXPECT_THAT(one.summary.front(), HasSubstr("SSMax diverged in 1 of 4 seeds"));
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

TEST_F(ComparabilityTest, TheRateOfTheRowScaleBelongsToAttentionAndTheRateOfAllDoesNot) {
  const auto softmax = write_run(root_ / "a", curve(kSoftmax, 1, 0.0, 1));
  FakeRun ssmax = curve(kSsmax, 1, -0.02, 2);
  ssmax.config.optimizer.scale_lr_multiplier = 10.0;
  const auto alone = [&](const char* name) {
    const Comparison result =
        compare({.runs = {softmax, write_run(root_ / name, ssmax)}, .baseline = {}, .window = {}});
    return result.candidates.at(0).attention_alone;
  };
  EXPECT_TRUE(alone("b"));
  ssmax.config.optimizer.lr *= 2.0;
  EXPECT_FALSE(alone("c"));
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

// A loss's line records its data: a resume may have given a run another text, on either side.
TEST_F(ComparabilityTest, ValidationLossesOfAReplacedTextAreLeftOut) {
  const auto compared = [&](const char* name, int64_t since_a, int64_t since_b) {
    FakeRun softmax = curve(kSoftmax, 1, 0.0, 1);
    FakeRun ssmax = curve(kSsmax, 1, -0.02, 2);
    softmax.validation = {{100, 9.0}, {200, 3.0}, {300, 2.75}, {400, 2.5}};
    ssmax.validation = {{100, 3.5}, {200, 2.99}, {300, 2.74}, {400, 2.49}};
    softmax.validation_data = [=](int64_t step) {
      return step <= since_a ? "a/8" : "v/8";
    };
    ssmax.validation_data = [=](int64_t step) {
      return step <= since_b ? "b/8" : "v/8";
    };
    const std::filesystem::path directory = root_ / name;
    return compare({.runs = {write_run(directory / "a", softmax), write_run(directory / "b", ssmax)},
                    .baseline = {},
                    .window = {}});
  };
  using testing::ElementsAre;
  EXPECT_THAT(compared("never", 0, 0).validation_steps, ElementsAre(100, 200, 300, 400));
  const Comparison one = compared("one", 100, 0);
  EXPECT_THAT(one.validation_steps, ElementsAre(200, 300, 400));
  EXPECT_THAT(one.notes,
              Contains(Field(&Note::text, HasSubstr("Validation losses at 1 of the shared steps are "
                                                    "left out: the validation text differs"))));
  EXPECT_THAT(compared("both", 100, 250).validation_steps, ElementsAre(300, 400));
}

TEST_F(ComparabilityTest, ValidationTextIsToldByItsFingerprintAndItsWindows) {
  const auto compared = [&](const char* name, const std::string& first, const std::string& second) {
    FakeRun softmax = curve(kSoftmax, 1, 0.0, 1);
    FakeRun ssmax = curve(kSsmax, 1, -0.02, 2);
    softmax.validation = ssmax.validation = {{400, 2.5}};
    // The paths of the shards, and how much of them was asked for, say nothing of what was read.
    softmax.config.data.validation = {"validation.bin"};
    ssmax.config.data.validation = {"elsewhere/validation.bin"};
    ssmax.config.evaluate.batches = 2 * softmax.config.evaluate.batches;
    softmax.validation_data = [=](int64_t) {
      return first;
    };
    ssmax.validation_data = [=](int64_t) {
      return second;
    };
    const std::filesystem::path directory = root_ / name;
    return compare({.runs = {write_run(directory / "a", softmax), write_run(directory / "b", ssmax)},
                    .baseline = {},
                    .window = {}});
  };
  const auto refusal = [](const char* reason) {
    return Contains(
        Field(&Note::text, HasSubstr(std::string("Validation losses are not compared: ") + reason)));
  };
  EXPECT_EQ(compared("moved, or shorter than asked for", "v/7", "v/7").validation_steps.size(), 1U);
  const Comparison rewritten = compared("rewritten", "v/7", "w/7");
  EXPECT_EQ(rewritten.validation_steps.size(), 0U);
  EXPECT_THAT(rewritten.notes, refusal("the validation text differs"));
  const Comparison windows = compared("other windows", "v/7", "v/8");
  EXPECT_EQ(windows.validation_steps.size(), 0U);
  EXPECT_THAT(windows.notes, refusal("the number of windows differs"));
  for (const auto& [first, second] : {std::pair{"v/7", ""}, std::pair{"", "v/7"}, std::pair{"", ""}}) {
    const Comparison unknown =
        compared((std::string("unknown") + first + "," + second).c_str(), first, second);
    EXPECT_EQ(unknown.validation_steps.size(), 0U);
    EXPECT_THAT(unknown.notes,
                refusal("what they are over, which an earlier version did not write, is not known"));
  }
}

}  // namespace
}  // namespace ssgpt::report
