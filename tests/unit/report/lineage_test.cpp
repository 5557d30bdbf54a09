// Runs that began from trained models: which are alike, and what their seeds can say.
#include "report/lineage.h"

#include "core/error.h"
#include "report/comparison.h"
#include "report/curves.h"
#include "report/outcomes.h"
#include "report/output.h"
#include "report/run_files.h"

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <functional>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

namespace ssgpt::report {
namespace {

using testing::AllOf;
using testing::Contains;
using testing::Each;
using testing::HasSubstr;
using testing::Not;
using LineageTest = RunFilesTest;

// The seed of the training that the fine-tuning of a seed began from.
using ParentSeed = std::function<uint64_t(uint64_t seed)>;

uint64_t own_seed(uint64_t seed) {
  return seed;
}
uint64_t first_seed(uint64_t) {
  return 1;
}

// A fine-tuning of each seed and kind, SSMax lower by about 0.05.
Options tunings(const std::filesystem::path& root, const ParentSeed& parent, uint64_t seeds = 3,
                bool known = true) {
  Options options;
  for (uint64_t seed = 1; seed <= seeds; ++seed) {
    for (const auto kind : {kSoftmax, kSsmax}) {
      const bool is_ssmax = kind == kSsmax;
      const double offset = is_ssmax ? -0.05 - 0.001 * static_cast<double>(seed) : 0.0;
      FakeRun run = curve(kind, seed, offset, (is_ssmax ? 10 : 0) + seed, 0.0);
      begin_from(run, is_ssmax ? "ssmax" : "softmax", kind, parent(seed));
      if (!known) run.ancestors.clear();
      options.runs.push_back(
          write_run(root / ((is_ssmax ? "ssmax-tuned-" : "softmax-tuned-") + std::to_string(seed)), run));
    }
  }
  return options;
}

// Three orders of the examples of a fine-tuning are no three pretrained models.
TEST_F(LineageTest, SeedsOfAFineTuningAreNoSeedsOfThePretrainingThatDiffers) {
  for (const bool known : {true, false}) {
    std::filesystem::remove_all(root_);
    const Comparison result = compare(tunings(root_, first_seed, 3, known));
    ASSERT_EQ(result.variants.size(), 2U);
    const CandidateResult& one = result.candidates.at(0);
    EXPECT_EQ(one.pairs.size(), 3U);
    EXPECT_FALSE(one.origin.independent);
    EXPECT_EQ(one.verdict, Verdict::kNone);
    EXPECT_THAT(one.summary.front(), HasSubstr("from runs that are not independent"));
    EXPECT_THAT(one.summary.at(1),
                AllOf(HasSubstr("the 3 runs of SSMax began from 1, the 3 runs of Softmax began from 1"),
                      HasSubstr("needs 3 trained models or more on each side")));
    EXPECT_THAT(one.summary,
                Each(Not(testing::ContainsRegex("95 %|p below|has a lower|fewer tokens than|seeds are"))));
    for (const OutcomeKind kind : kOutcomes) {
      const Estimate* estimate = estimate_of(one, kind);
      EXPECT_TRUE(estimate == nullptr || !estimate->tested()) << key(kind);
    }
    EXPECT_NEAR(one.training.mean, -0.052, 1e-9);  // the difference itself stands
    const auto compared = nlohmann::json::parse(to_json(result))["comparisons"][0];
    EXPECT_EQ(compared["independent"], false);
    EXPECT_EQ(compared["origin"], one.origin.note);
    EXPECT_TRUE(compared["training"]["p"].is_null() && compared["training"]["scatter_for_seeds"].is_null());
  }
}

TEST_F(LineageTest, PretrainedSeedsThatWereTunedArePairsOfTwoVariants) {
  const Comparison result = compare(tunings(root_, own_seed));
  ASSERT_EQ(result.variants.size(), 2U);
  EXPECT_EQ(result.variants[1].variant.label, "SSMax");
  const CandidateResult& one = result.candidates.at(0);
  ASSERT_EQ(one.seeds.size(), 3U);
  for (size_t i = 0; i < 3; ++i) {
    EXPECT_EQ(one.seeds[i].seed, i + 1);
    EXPECT_NEAR(one.seeds[i].training, -0.05 - 0.001 * static_cast<double>(i + 1), 1e-9);
  }
  EXPECT_EQ(one.verdict, Verdict::kLower);
  EXPECT_TRUE(one.origin.independent);
  EXPECT_EQ(one.origin.note, "");
  // The trainings behind a pair differ in attention alone as well, and that is said.
  EXPECT_TRUE(one.attention_alone);
  EXPECT_THAT(one.settings,
              Contains(AllOf(testing::Field(&SettingDifference::key, "parent.model.attention.kind"),
                             testing::Field(&SettingDifference::baseline, "softmax"),
                             testing::Field(&SettingDifference::candidate, "ssmax"))));
}

// As an earlier version wrote them: nothing shows that the parents are seeds of one training.
TEST_F(LineageTest, WithoutTheParentsIdentityEachIsAVariant) {
  const Comparison result = compare(tunings(root_, own_seed, 3, /*known=*/false));
  EXPECT_EQ(result.variants.size(), 6U);
  EXPECT_THAT(result.candidates, Each(testing::Field(&CandidateResult::verdict, Verdict::kNone)));
}

TEST_F(LineageTest, TwoRunsOfOneParentAreNotTwoSamples) {
  const auto halved = [](uint64_t seed) {
    return (seed + 1) / 2;
  };
  const CandidateResult one = compare(tunings(root_, halved, 6)).candidates.at(0);
  EXPECT_EQ(one.pairs.size(), 6U);
  EXPECT_EQ(one.verdict, Verdict::kNone);
  EXPECT_THAT(one.origin.note,
              AllOf(HasSubstr("the 6 runs of SSMax began from 3"), HasSubstr("one run from each")));
}

TEST_F(LineageTest, AVerdictFromOneCheckpointHoldsForThatCheckpoint) {
  Options options;
  for (uint64_t seed = 1; seed <= 3; ++seed) {
    for (const auto kind : {kSoftmax, kSsmax}) {
      const double offset = kind == kSsmax ? -0.05 - 0.001 * static_cast<double>(seed) : 0.0;
      FakeRun run = curve(kind, seed, offset, (kind == kSsmax ? 10 : 0) + seed, 0.0);
      begin_from(run, "softmax", kSoftmax, 1);
      options.runs.push_back(write_run(root_ / std::to_string(options.runs.size()), run));
    }
  }
  const CandidateResult one = compare(options).candidates.at(0);
  EXPECT_EQ(one.verdict, Verdict::kLower);
  EXPECT_TRUE(one.attention_alone);
  EXPECT_EQ(one.summary.at(1),
            "All runs of SSMax and Softmax began from the same checkpoint, "
            "/runs/softmax-seed1/checkpoints/step-00000100: a verdict holds for that checkpoint, and says "
            "nothing about others.");
}

TEST_F(LineageTest, ParentsThatLearntOtherwiseMakeOtherVariants) {
  const auto variants = [&](const auto& change) {
    std::filesystem::remove_all(root_);
    Options options;
    for (uint64_t seed = 1; seed <= 2; ++seed) {
      FakeRun run = curve(kSoftmax, seed, 0.0, seed);
      begin_from(run, "softmax", kSoftmax, seed);
      if (seed == 2) change(run);
      options.runs.push_back(write_run(root_ / std::to_string(seed), run));
    }
    options.runs.push_back(write_run(root_ / "other", curve(kSsmax, 1, 0.0, 3)));
    return compare(options).variants.size();
  };
  EXPECT_EQ(variants([](FakeRun&) {}), 2U);
  EXPECT_EQ(variants([](FakeRun& run) { run.ancestors[0].step = 200; }), 3U);
  EXPECT_EQ(variants([](FakeRun& run) { run.ancestors[0].config.optimizer.lr *= 2; }), 3U);
  EXPECT_EQ(variants([](FakeRun& run) { run.ancestors[0].config.run.seed = 1; }), 3U);
  EXPECT_EQ(variants([](FakeRun& run) {  // a training before
              run.ancestors.push_back(run.ancestors[0]);
              run.ancestors[0].checkpoint = "/runs/a";
            }),
            3U);
  EXPECT_EQ(variants([](FakeRun& run) { run.ancestors[0].config.log.every = 7; }), 2U);
  EXPECT_EQ(variants([](FakeRun& run) {  // a swap that lies ahead was not made
              run.ancestors[0].config.train.swap_attention = {{.at_step = 100, .kind = kSsmax}};
            }),
            2U);
}

// A pair whose pretrainings differ in more than attention says so.
TEST_F(LineageTest, WhatDiffersBehindAPairIsNamed) {
  FakeRun softmax = curve(kSoftmax, 1, 0.0, 1);
  FakeRun ssmax = curve(kSsmax, 1, 0.0, 2);
  begin_from(softmax, "softmax", kSoftmax, 1);
  begin_from(ssmax, "ssmax", kSsmax, 1);
  ssmax.ancestors[0].step = 90;
  const auto a = write_run(root_ / "a", softmax);
  const CandidateResult one =
      compare({.runs = {a, write_run(root_ / "b", ssmax)}, .baseline = {}, .window = {}}).candidates.at(0);
  EXPECT_FALSE(one.attention_alone);
  EXPECT_THAT(one.settings, Contains(AllOf(testing::Field(&SettingDifference::key, "parent.step"),
                                           testing::Field(&SettingDifference::material, true))));
}

TEST_F(LineageTest, AConfigThatDoesNotReadIsNamed) {
  FakeRun run = curve(kSoftmax, 1, 0.0, 1);
  begin_from(run, "softmax", kSoftmax, 1);
  const auto directory = write_run(root_ / "a", run);
  auto record = nlohmann::json::parse(std::ifstream(directory / "run.json"));
  for (const char* text : {"model: [", "model: {vocab_size: -1}", "3"}) {
    record["ancestors"][0]["config"] = text;
    std::ofstream(directory / "run.json") << record;
    try {
      read_run(directory);
      ADD_FAILURE() << text;
    } catch (const core::InputError& error) {
      EXPECT_THAT(error.what(), HasSubstr("ancestors[0].config"));
    }
  }
}

Ancestor known_training(const std::string& run, uint64_t seed) {
  Ancestor one{.checkpoint = run, .known = true, .run_id = run, .step = 5, .training = {}};
  one.training.config.run.seed = seed;
  return one;
}

Independence judged_sides(const std::vector<Lineage>& a, const std::vector<Lineage>& b, bool paired = true) {
  Origin left{.label = "A", .runs = {}};
  Origin right{.label = "B", .runs = {}};
  for (const Lineage& one : a) left.runs.push_back(&one);
  for (const Lineage& one : b) right.runs.push_back(&one);
  return judge_independence(left, right, paired);
}

TEST(Independence, IsOfTheFirstTrainingThatTheSidesDoNotShare) {
  const Lineage none;
  const Lineage p1 = {known_training("p1", 1)}, p2 = {known_training("p2", 2)},
                p3 = {known_training("p3", 3)};
  const Lineage q1 = {known_training("q1", 11)}, q2 = {known_training("q2", 12)},
                q3 = {known_training("q3", 13)};
  EXPECT_TRUE(judged_sides({none, none, none}, {none, none, none}).independent);
  EXPECT_TRUE(judged_sides({p1, p2, p3}, {q1, q2, q3}).independent);
  EXPECT_TRUE(judged_sides({p1, p2, p3}, {q1, q2, q3}, /*paired=*/false).independent);
  EXPECT_FALSE(judged_sides({p1, p1, p1}, {q1, q2, q3}).independent);
  EXPECT_FALSE(judged_sides({none, none, none}, {q1, q1, q1}).independent);  // trained alone against tuned
  EXPECT_TRUE(judged_sides({none, none, none}, {q1, q2, q3}).independent);
  // Pair by pair from the same weights, each of its own: it holds for all such.
  EXPECT_EQ(judged_sides({p1, p2, p3}, {p1, p2, p3}).note, "");
  EXPECT_THAT(judged_sides({p1, p1, p2}, {p1, p1, p2}).note,
              HasSubstr("began from 2 trained models that both share"));
  EXPECT_FALSE(judged_sides({p1, p1, p2}, {p1, p1, p2}, /*paired=*/false).independent);
  // Tuned twice: the trainings in the middle have seeds of their own, or one for all.
  const auto tuned = [](const Lineage& of, const std::string& run, uint64_t seed) {
    return Lineage{of[0], known_training(run, seed)};
  };
  const Independence middle = judged_sides({tuned(p1, "s1", 1), tuned(p1, "s2", 2), tuned(p1, "s3", 3)},
                                           {tuned(p1, "t1", 21), tuned(p1, "t2", 22), tuned(p1, "t3", 23)});
  EXPECT_TRUE(middle.independent);
  EXPECT_THAT(middle.note, HasSubstr("from the same checkpoint, p1"));
  EXPECT_FALSE(judged_sides({tuned(p1, "s1", 1), tuned(p1, "s1", 1), tuned(p1, "s1", 1)},
                            {tuned(p1, "t1", 21), tuned(p1, "t1", 21), tuned(p1, "t1", 21)})
                   .independent);
  EXPECT_TRUE(judged_sides({tuned(p1, "s1", 7), tuned(p2, "s2", 7), tuned(p3, "s3", 7)},
                           {tuned(q1, "t1", 7), tuned(q2, "t2", 7), tuned(q3, "t3", 7)})
                  .independent);
  // A repetition of a training is the same sample of it.
  const Lineage again = {known_training("again", 1)};
  EXPECT_FALSE(judged_sides({p1, again, p3}, {q1, q2, q3}).independent);
}

TEST(Curves, OfTunedModelsOfOnePretrainingHaveNoVerdict) {
  const auto judged_figure = [](bool shared) {
    std::vector<MeasuredCurve> curves;
    for (uint64_t seed = 1; seed <= 3; ++seed) {
      for (const bool is_candidate : {false, true}) {
        MeasuredCurve& one = curves.emplace_back();
        one.variant = is_candidate ? "candidate" : "base";
        one.seed = seed;
        const uint64_t parent = (is_candidate ? 10 : 0) + (shared ? 1 : seed);
        one.lineage = {known_training(std::to_string(parent), parent)};
        const double value = (is_candidate ? 2.5 : 3.0) + 0.001 * static_cast<double>(seed * parent);
        one.points = {{.mean = value, .standard_error = 0.0, .tokens = 1000, .trials = {value, value}}};
      }
    }
    return judge_curves(Figure::kLoss, curves, "base").candidates.at(0);
  };
  const CurveCandidate apart = judged_figure(/*shared=*/false);
  EXPECT_EQ(apart.points[0].estimate.verdict(), Verdict::kLower);
  const CurveCandidate shared = judged_figure(/*shared=*/true);
  EXPECT_FALSE(shared.origin.independent);
  EXPECT_EQ(shared.points[0].estimate.verdict(), Verdict::kNone);
  EXPECT_FALSE(shared.points[0].estimate.tested());
  EXPECT_NEAR(shared.points[0].estimate.mean, -0.5 + 0.001 * 10 * 2, 1e-12);
}

}  // namespace
}  // namespace ssgpt::report
