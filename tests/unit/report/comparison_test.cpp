#include "report/comparison.h"

#include "core/error.h"
#include "report/run_files.h"

#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace ssgpt::report {
namespace {

using testing::Contains;
using testing::Field;
using testing::HasSubstr;

using ComparisonTest = RunFilesTest;

TEST_F(ComparisonTest, EqualCurvesCarryNoVerdict) {
  const Comparison result = compare({.runs = {write_run(root_ / "a", curve(kSoftmax, 1, 0.0, 1)),
                                              write_run(root_ / "b", curve(kSsmax, 1, 0.0, 1))},
                                     .baseline = {},
                                     .window = {}});
  EXPECT_EQ(result.candidates[0].verdict, Verdict::kNone);
  EXPECT_EQ(result.candidates[0].training.mean, 0.0);
}

TEST_F(ComparisonTest, OtherSeedsAreComparedWithAWarning) {
  const Comparison result = compare({.runs = {write_run(root_ / "a", curve(kSoftmax, 1, 0.0, 1)),
                                              write_run(root_ / "b", curve(kSsmax, 2, -0.001, 2))},
                                     .baseline = {},
                                     .window = {}});
  EXPECT_THAT(result.notes, Contains(Field(&Note::text, HasSubstr("share no seed"))));
  // Unpaired noise of 0.2 on each side: the error is a hundred times that of the paired runs.
  EXPECT_GT(result.candidates[0].training_noise.standard_error, 0.01);
}

TEST_F(ComparisonTest, ComparesWhatRunsOfOtherLengthAndLoggingShareAndSaysSo) {
  FakeRun shorter = curve(kSsmax, 1, -0.02, 2);
  shorter.last_step = 200;
  shorter.config.log.every = 4;
  FakeRun longer = curve(kSoftmax, 1, 0.0, 1);
  longer.config.log.every = 10;
  const Comparison result =
      compare({.runs = {write_run(root_ / "a", longer), write_run(root_ / "b", shorter)},
               .baseline = {},
               .window = {}});
  EXPECT_EQ(result.grid.size(), 10U);
  EXPECT_EQ(result.grid.back().last_step, 200);
  EXPECT_THAT(result.notes, Contains(Field(&Note::text, HasSubstr("continues to step 400"))));
  EXPECT_THAT(result.notes, Contains(Field(&Note::text, HasSubstr("step 200 of 400"))));
  EXPECT_THAT(result.notes, Contains(Field(&Note::text, HasSubstr("log every 4 to 10"))));
}

TEST_F(ComparisonTest, LossesThatAreNotFiniteAreLeftOutWithAWarning) {
  FakeRun broken = curve(kSsmax, 1, -0.02, 2);
  const auto whole = broken.loss;
  broken.loss = [whole](int64_t step) {
    return step == 390 ? std::numeric_limits<double>::infinity() : whole(step);
  };
  const Comparison result =
      compare({.runs = {write_run(root_ / "a", curve(kSoftmax, 1, 0.0, 1)), write_run(root_ / "b", broken)},
               .baseline = {},
               .window = {}});
  EXPECT_EQ(result.candidates[0].training_noise.points, 79);
  EXPECT_EQ(result.candidates[0].verdict, Verdict::kNone);
  EXPECT_THAT(result.candidates[0].summary.front(),
              HasSubstr("No verdict: SSMax diverged (seed 1: the training "
                        "loss is not finite at 1 of the 80 points"));
  EXPECT_TRUE(std::isfinite(result.candidates[0].training.mean));
  EXPECT_THAT(result.notes,
              Contains(testing::AllOf(Field(&Note::warning, true), Field(&Note::text, HasSubstr("finite")))));
}

TEST_F(ComparisonTest, CountsTheTokensToTheBaselinesFinalLoss) {
  FakeRun softmax = curve(kSoftmax, 1, 0.0, 1, 0.0);
  FakeRun ssmax = curve(kSsmax, 1, 0.0, 2, 0.0);
  softmax.loss = [](int64_t step) {
    return 5.0 - 0.01 * static_cast<double>(step);
  };
  ssmax.loss = [](int64_t step) {
    return 4.5 - 0.01 * static_cast<double>(step);
  };  // 50 steps ahead
  const Comparison result = compare({.runs = {write_run(root_ / "a", softmax), write_run(root_ / "b", ssmax)},
                                     .baseline = {},
                                     .window = {}});
  EXPECT_DOUBLE_EQ(result.variants[0].tokens_to_target.value(), 400 * 64.0);
  // The start-up of the smoothing has passed at step 350 but for exp(-350 / 16).
  EXPECT_NEAR(result.variants[1].tokens_to_target.value(), 350 * 64.0, 0.01);
}

TEST_F(ComparisonTest, RefusesWhatCannotBePaired) {
  const auto base = write_run(root_ / "base", curve(kSoftmax, 1, 0.0, 1));
  FakeRun vocabulary = curve(kSsmax, 1, 0.0, 2);
  vocabulary.config.model.vocab_size = 128;
  FakeRun batch = curve(kSsmax, 1, 0.0, 2);
  batch.config.train.global_batch_size = 8;
  for (const FakeRun& run : {vocabulary, batch}) {
    EXPECT_THROW(compare({.runs = {base, write_run(root_ / "other", run)}, .baseline = {}, .window = {}}),
                 core::UsageError);
  }
  EXPECT_THROW(compare({.runs = {base}, .baseline = {}, .window = {}}), core::UsageError);
  EXPECT_THROW(compare({.runs = {base, base}, .baseline = {}, .window = {}}), core::UsageError);
  EXPECT_THROW(compare({.runs = {base, root_ / "absent"}, .baseline = {}, .window = {}}), core::InputError);
  EXPECT_THROW(compare({.runs = {base, write_run(root_ / "b", curve(kSsmax, 1, 0, 2))},
                        .baseline = root_ / "c",
                        .window = {}}),
               core::UsageError);
}

TEST_F(ComparisonTest, OtherDataWeakensThePairing) {
  FakeRun other = curve(kSsmax, 1, 0.0, 2);
  other.fingerprint = "g";
  const Comparison result =
      compare({.runs = {write_run(root_ / "a", curve(kSoftmax, 1, 0.0, 1)), write_run(root_ / "b", other)},
               .baseline = {},
               .window = {}});
  EXPECT_THAT(result.notes, Contains(Field(&Note::text, HasSubstr("different data"))));
}

TEST_F(ComparisonTest, SettingsBesideAttentionAreNamed) {
  FakeRun other = curve(kSsmax, 1, 0.0, 2);
  other.config.optimizer.lr = 1e-3;
  other.config.log.every = 2;
  const Comparison result =
      compare({.runs = {write_run(root_ / "a", curve(kSoftmax, 1, 0.0, 1)), write_run(root_ / "b", other)},
               .baseline = {},
               .window = {}});
  EXPECT_FALSE(result.candidates[0].attention_alone);
  const auto is = [](const char* key, bool material) {
    return testing::AllOf(Field(&SettingDifference::key, key), Field(&SettingDifference::material, material));
  };
  EXPECT_THAT(result.candidates[0].settings, Contains(is("optimizer.lr", true)));
  EXPECT_THAT(result.candidates[0].settings, Contains(is("log.every", false)));
}

TEST_F(ComparisonTest, AScheduledSwapIsAnotherVariantAndNoRepeat) {
  FakeRun swapped = curve(kSoftmax, 1, -0.02, 2);
  swapped.config.train.swap_attention = {{.at_step = 100, .kind = kSsmax}};
  const Comparison result =
      compare({.runs = {write_run(root_ / "a", curve(kSoftmax, 1, 0.0, 1)), write_run(root_ / "b", swapped)},
               .baseline = {},
               .window = {}});
  ASSERT_EQ(result.variants.size(), 2U);
  EXPECT_EQ(result.variants[0].variant.label, "Softmax");
  EXPECT_EQ(result.variants[1].variant.label, "Softmax -> SSMax at step 100");
  EXPECT_TRUE(result.candidates[0].attention_alone);
}

TEST_F(ComparisonTest, SwapsTellThreeRunsApart) {
  const std::filesystem::path trunk = root_ / "a";
  const std::string parent = (trunk / "checkpoints/step-00000100").string();
  FakeRun early = curve(kSoftmax, 1, -0.02, 2);
  early.parent = parent;
  early.first_step = 101;
  early.config.train.swap_attention = {{.at_step = 100, .kind = kSsmax}};
  FakeRun late = curve(kSoftmax, 1, -0.01, 3);
  late.parent = (trunk / "checkpoints/step-00000200").string();
  late.first_step = 201;
  late.config.train.swap_attention = {{.at_step = 200, .kind = kSsmax}};
  const Comparison result = compare({.runs = {write_run(root_ / "a", curve(kSoftmax, 1, 0.0, 1)),
                                              write_run(root_ / "b", early), write_run(root_ / "c", late)},
                                     .baseline = {},
                                     .window = {}});
  ASSERT_EQ(result.variants.size(), 3U);
  EXPECT_TRUE(result.runs[2].used);
  EXPECT_EQ(result.variants[1].variant.label, "Softmax -> SSMax at step 100");
  EXPECT_EQ(result.variants[2].variant.label, "Softmax -> SSMax at step 200");
  EXPECT_TRUE(result.candidates[0].attention_alone);
  EXPECT_THAT(result.candidates[1].settings,
              Contains(testing::AllOf(Field(&SettingDifference::key, "train.swap_attention"),
                                      Field(&SettingDifference::baseline, "[]"),
                                      Field(&SettingDifference::candidate, HasSubstr("at_step: 200")),
                                      Field(&SettingDifference::material, true))));
  EXPECT_EQ(result.runs[1].data.parent, parent);
}

// A swap at the same step is the same training, wherever the version that made it kept it.
TEST_F(ComparisonTest, ASwapThatAnEarlierVersionKeptInTheRecordIsTheSameVariant) {
  FakeRun planned = curve(kSoftmax, 1, -0.02, 2);
  planned.config.train.swap_attention = {{.at_step = 100, .kind = kSsmax}};
  planned.parent = "runs/trunk1/checkpoints/step-00000100";
  planned.first_step = 101;
  FakeRun manual = curve(kSoftmax, 2, -0.02, 3);
  manual.swap_in_record = config::SwapAttention{.at_step = 100, .kind = kSsmax};
  manual.parent = "runs/trunk2/checkpoints/step-00000100";
  manual.first_step = 101;
  const Comparison result =
      compare({.runs = {write_run(root_ / "a", curve(kSoftmax, 1, 0.0, 1)), write_run(root_ / "b", planned),
                        write_run(root_ / "c", manual)},
               .baseline = {},
               .window = {}});
  ASSERT_EQ(result.variants.size(), 2U);
  EXPECT_EQ(result.variants[1].variant.runs.size(), 2U);
}

void expect_segments_agree(const CandidateResult& one) {
  for (const Segment& segment : one.segments)
    EXPECT_NEAR(segment.candidate - segment.baseline, segment.difference, 1e-12) << segment.first_step;
}

TEST_F(ComparisonTest, TablesAgreeWhereSeedsArePartlyShared) {
  // The third baseline has no partner, and is far above the others.
  const Comparison result = compare({.runs = {write_run(root_ / "a1", curve(kSoftmax, 1, 0.0, 1, 0.0)),
                                              write_run(root_ / "a2", curve(kSoftmax, 2, 0.0, 2, 0.0)),
                                              write_run(root_ / "a3", curve(kSoftmax, 3, 9.0, 3, 0.0)),
                                              write_run(root_ / "b1", curve(kSsmax, 1, -0.1, 4, 0.0)),
                                              write_run(root_ / "b2", curve(kSsmax, 2, -0.2, 5, 0.0))},
                                     .baseline = {},
                                     .window = {}});
  const CandidateResult& one = result.candidates.at(0);
  EXPECT_EQ(one.training.method, Method::kSeedsPaired);
  EXPECT_NEAR(one.training.mean, -0.15, 1e-9);
  EXPECT_NEAR(one.difference.front(), -0.15, 1e-9);
  expect_segments_agree(one);
  const VariantResult& softmax = result.variants.at(0);
  const VariantResult& ssmax = result.variants.at(1);
  EXPECT_EQ(softmax.variant.runs.size(), 3U);
  EXPECT_EQ(softmax.averaged, (std::vector<size_t>{0, 1}));
  EXPECT_NEAR(ssmax.window_loss - softmax.window_loss, one.training.mean, 1e-9);
  EXPECT_NEAR(ssmax.loss.back() - softmax.loss.back(), one.difference.back(), 1e-9);
  EXPECT_NEAR(ssmax.smoothed.back() - softmax.smoothed.back(), one.smoothed_difference.back(), 1e-9);
  EXPECT_EQ(result.target_loss, softmax.smoothed.back());
}

TEST_F(ComparisonTest, AThirdVariantOfFewerSeedsIsSaidToStandAgainstOtherMeans) {
  const Comparison result =
      compare({.runs = {write_run(root_ / "a1", curve(kSoftmax, 1, 0.0, 1, 0.0)),
                        write_run(root_ / "a2", curve(kSoftmax, 2, 0.0, 2, 0.0)),
                        write_run(root_ / "b1", curve(kSsmax, 1, -0.1, 4, 0.0)),
                        write_run(root_ / "b2", curve(kSsmax, 2, -0.2, 5, 0.0)),
                        write_run(root_ / "c1", curve(config::AttentionKind::kSsmaxFixed, 1, -0.1, 6, 0.0))},
               .baseline = {},
               .window = {}});
  EXPECT_EQ(result.variants.at(0).averaged.size(), 2U);
  EXPECT_EQ(result.candidates.at(0).training.seeds, 2);
  EXPECT_THAT(result.notes,
              Contains(Field(&Note::text, HasSubstr("means over the seeds 1, 2, but SSMax, s fixed at 1 is "
                                                    "compared with it over the seeds 1 alone"))));
}

TEST_F(ComparisonTest, WithoutSharedSeedsEverythingIsTheDifferenceOfTheMeans) {
  const Comparison result = compare({.runs = {write_run(root_ / "a1", curve(kSoftmax, 1, 0.0, 1)),
                                              write_run(root_ / "a2", curve(kSoftmax, 2, 0.5, 2)),
                                              write_run(root_ / "b3", curve(kSsmax, 3, -0.1, 3)),
                                              write_run(root_ / "b4", curve(kSsmax, 4, -0.8, 4))},
                                     .baseline = {},
                                     .window = {}});
  const CandidateResult& one = result.candidates.at(0);
  EXPECT_EQ(one.training.method, Method::kSeedsUnpaired);
  EXPECT_NEAR(one.training.mean, result.variants[1].window_loss - result.variants[0].window_loss, 1e-12);
  double mean = 0.0;
  for (size_t i = result.window.begin; i < result.window.end; ++i)
    mean += one.difference[i] / static_cast<double>(result.window.end - result.window.begin);
  EXPECT_NEAR(mean, one.training.mean, 1e-12);
  expect_segments_agree(one);
}

TEST_F(ComparisonTest, SeedsWithoutAFiniteLossAreNamedInWords) {
  const auto broken = [](uint64_t seed, uint64_t own) {
    FakeRun run = curve(kSsmax, seed, 0.0, own);
    run.loss = [](int64_t step) {
      return step > 300 ? std::numeric_limits<double>::infinity() : 3.0;
    };
    return run;
  };
  const auto a1 = write_run(root_ / "a1", curve(kSoftmax, 1, 0.0, 1));
  const auto a2 = write_run(root_ / "a2", curve(kSoftmax, 2, 0.0, 2));
  const auto whole = write_run(root_ / "b1", curve(kSsmax, 1, -0.1, 3));
  const auto broken1 = write_run(root_ / "c1", broken(1, 4));
  const auto broken2 = write_run(root_ / "c2", broken(2, 5));
  const Comparison half = compare({.runs = {a1, a2, whole, broken2}, .baseline = {}, .window = {}});
  EXPECT_THAT(
      half.candidates.at(0).summary,
      Contains(HasSubstr("from one pair of runs, counting only what did not fail, which hides the failure. A "
                         "verdict needs 3 seeds")));
  const Comparison none = compare({.runs = {a1, a2, broken1, broken2}, .baseline = {}, .window = {}});
  EXPECT_TRUE(std::isnan(none.candidates.at(0).training.mean));
  EXPECT_THAT(none.candidates.at(0).summary, Contains(HasSubstr("has no finite loss")));
  EXPECT_THAT(none.candidates.at(0).summary, testing::Not(Contains(HasSubstr("+0.0000"))));
  // Without a complete run there is no loss to count the tokens to.
  const auto broken3 = write_run(root_ / "d1", broken(1, 6));
  const auto other = write_run(root_ / "d2", [&] {
    FakeRun run = broken(1, 7);
    run.config.model.attention.kind = kSoftmax;
    return run;
  }());
  const Comparison all = compare({.runs = {broken3, other}, .baseline = {}, .window = {}});
  EXPECT_TRUE(std::isnan(all.candidates.at(0).token_losses.lowest));
  EXPECT_THAT(all.candidates.at(0).summary, testing::Each(testing::Not(HasSubstr("nan"))));
}

}  // namespace
}  // namespace ssgpt::report
