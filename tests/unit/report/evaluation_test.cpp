#include "report/evaluation.h"

#include "core/file.h"
#include "core/temporary_directory.h"

#include <algorithm>
#include <filesystem>
#include <limits>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

namespace ssgpt::report {
namespace {

using nlohmann::json;
using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

PointValue value(double mean) {
  return {.mean = mean, .standard_error = 0.01, .tokens = 8, .trials = {mean - 0.01, mean + 0.01}};
}

EvaluatedModel model(const std::string& variant, uint64_t seed, const std::vector<double>& losses) {
  EvaluatedModel result;
  result.variant = variant;
  result.seed = seed;
  result.checkpoint = "runs/" + variant;
  result.step = 7;
  result.attention = "softmax";
  result.trained_length = 8;
  result.rope_theta = 10000.0;
  for (const double loss : losses) result.loss.push_back(value(loss));
  return result;
}

// Losses by position of two bins; "b, c" is lower in the first and higher in the second.
Evaluation by_position(size_t seeds) {
  Evaluation evaluation;
  evaluation.points = {{0, 7}, {8, 31}};
  evaluation.trained_length = 8;
  evaluation.data = {"v.bin"};
  evaluation.trials = 2;
  EvaluatedCondition& condition = evaluation.conditions.emplace_back();
  condition.baseline = "a";
  for (size_t i = 0; i < seeds; ++i) {
    const double own = 0.001 * static_cast<double>(i);
    condition.models.push_back(model("a", i + 1, {3.0, 4.0}));
    condition.models.push_back(model("b, c", i + 1, {2.5 + own, 4.25 - own}));
  }
  judge(evaluation.kind, condition);
  return evaluation;
}

TEST(Evaluation, TheTableHasContextMeansDifferencesAndVerdicts) {
  const std::string table = to_table(by_position(3));
  EXPECT_THAT(
      table, AllOf(HasSubstr("Loss by position"), HasSubstr("2 windows of 32 tokens"), HasSubstr("overlap 0"),
                   HasSubstr("RoPE theta as trained (10000): loss, nats per token; 3 seeds (1, 2, 3)")));
  EXPECT_THAT(table,
              testing::ContainsRegex("0\\.\\.7 +1\\.\\.8 +1 +3\\.0000 +2\\.5010 +-0\\.4990 .* lower\n"));
  EXPECT_THAT(table,
              testing::ContainsRegex("8\\.\\.31 +9\\.\\.32 +4 +4\\.0000 +4\\.2490 +\\+0\\.2490 .* higher\n"));
  EXPECT_THAT(table, HasSubstr("b, c minus a, loss: lower at 0..7; higher at 8..31 (3 seeds, paired)."));
  EXPECT_THAT(table, HasSubstr("all 2 tested differences of this table"));
}

TEST(Evaluation, SeveralCandidatesStandInRowsAndStarsAreVerdicts) {
  Evaluation evaluation = by_position(3);
  std::vector<EvaluatedModel>& models = evaluation.conditions[0].models;
  // Differences of -0.5, 0 and 0.5 at the second point: t = 0.
  for (size_t i = 0; i < 3; ++i) {
    const double own = 0.5 * (static_cast<double>(i) - 1.0);
    models.push_back(model("d", i + 1, {3.5 + 0.001 * own, 4.0 + own}));
  }
  judge(evaluation.kind, evaluation.conditions[0]);
  const std::string table = to_table(evaluation);
  EXPECT_THAT(table, HasSubstr("  positions    0..7   8..31\n"
                               "  context      1..8   9..32\n"
                               "  x trained       1       4\n"));
  EXPECT_THAT(table, HasSubstr("  b, c       2.5010  4.2490\n"));
  // t(0.975) of two degrees is 4.3027; the standard errors are 0.001 / sqrt(3) and 0.5 / sqrt(3).
  EXPECT_THAT(table, HasSubstr("  Minus a:\n"));
  EXPECT_THAT(table, testing::ContainsRegex("  b, c +-0\\.4990 ±0\\.0025 \\*  \\+0\\.2490 ±0\\.0025 \\*\n"));
  EXPECT_THAT(table, testing::ContainsRegex("  d +\\+0\\.5000 ±0\\.0012 \\*  \\+0\\.0000 ±1\\.2421 *\n"));
  EXPECT_THAT(table, HasSubstr("all 4 tested differences of this table"));
}

TEST(Evaluation, MorePointsThanFitSideBySideMakeFurtherTables) {
  Evaluation evaluation = by_position(1);
  evaluation.conditions[0].models.push_back(model("d", 1, {3.5, 4.5}));
  evaluation.points.clear();
  for (int64_t i = 0; i < 10; ++i) evaluation.points.push_back({8 * i, 8 * i + 7});
  for (EvaluatedModel& one : evaluation.conditions[0].models) one.loss.resize(10, one.loss[0]);
  judge(evaluation.kind, evaluation.conditions[0]);
  const std::string table = to_table(evaluation);
  EXPECT_THAT(table, testing::ContainsRegex("positions +0\\.\\.7 .*56\\.\\.63\n"));
  EXPECT_THAT(table, testing::ContainsRegex("positions +64\\.\\.71 +72\\.\\.79\n"));
  EXPECT_THAT(table, HasSubstr("± with a t: one standard error"));
  EXPECT_THAT(table, HasSubstr(" +0.5000 ±0.0000 t"));
  for (EvaluatedModel& one : evaluation.conditions[0].models) {
    for (PointValue& point : one.loss) point.trials.resize(1);  // whose error is not known
  }
  judge(evaluation.kind, evaluation.conditions[0]);
  EXPECT_THAT(to_table(evaluation), AllOf(HasSubstr(" +0.5000  +0.5000"), Not(HasSubstr("±-"))));
}

TEST(Evaluation, OneSeedHasTheErrorOfItsTrials) {
  const std::string table = to_table(by_position(1));
  EXPECT_THAT(table, AllOf(HasSubstr("error of the trials"), HasSubstr("A verdict needs 3 seeds or more"),
                           Not(HasSubstr("95 % interval")), Not(HasSubstr("lower"))));
}

// Losses of the candidate at the second bin become NaN, of the first `seeds` seeds.
void lose_values(size_t seeds, Evaluation& evaluation) {
  std::vector<EvaluatedModel>& models = evaluation.conditions[0].models;
  for (size_t i = 0; i < seeds; ++i)
    models[2 * i + 1].loss[1].mean = std::numeric_limits<double>::quiet_NaN();
  judge(evaluation.kind, evaluation.conditions[0]);
}

// The reason given is that values are not finite, not that there are too few seeds.
TEST(Evaluation, ValuesThatAreNotFiniteAreCounted) {
  Evaluation evaluation = by_position(3);
  lose_values(1, evaluation);
  EXPECT_THAT(
      to_table(evaluation),
      AllOf(HasSubstr("b, c minus a, loss: lower at 0..7; no verdict at 1 of 2 points; values not finite: "
                      "1 of 3 seeds at 8..31 (3 seeds, paired)."),
            HasSubstr("A value that is not finite cancels the verdict of its point"),
            HasSubstr("95 % interval"), Not(HasSubstr("A verdict needs"))));
  evaluation = by_position(3);
  lose_values(3, evaluation);
  for (const size_t i : {size_t{1}, size_t{3}, size_t{5}})
    evaluation.conditions[0].models[i].loss[0].mean = std::numeric_limits<double>::infinity();
  judge(evaluation.kind, evaluation.conditions[0]);
  EXPECT_THAT(
      to_table(evaluation),
      AllOf(HasSubstr("no verdict at any point; values not finite: 3 of 3 seeds at 0..7, 3 of 3 seeds at "
                      "8..31 (3 seeds, paired)."),
            Not(HasSubstr("A verdict needs")), Not(HasSubstr("error of the trials")),
            Not(HasSubstr("tested differences"))));
}

TEST(Evaluation, ValuesThatAreNotFiniteAreMarkedAmongSeveralCandidates) {
  Evaluation evaluation = by_position(3);
  for (size_t i = 0; i < 3; ++i)
    evaluation.conditions[0].models.push_back(model("d", i + 1, {3.5, 4.0 + 0.1 * static_cast<double>(i)}));
  lose_values(1, evaluation);
  EXPECT_THAT(to_table(evaluation),
              AllOf(testing::ContainsRegex("  b, c +-0\\.4990 ±0\\.0025 \\* +\\+0\\.2485 !\n"),
                    HasSubstr("  !: not finite. A value"), Not(HasSubstr("A verdict needs"))));
}

// An interval without width is not an interval.
TEST(Evaluation, DifferencesThatDoNotScatterHaveNoInterval) {
  Evaluation evaluation = by_position(3);
  for (EvaluatedModel& one : evaluation.conditions[0].models) one.loss[1] = value(4.0);
  judge(evaluation.kind, evaluation.conditions[0]);
  EXPECT_THAT(to_table(evaluation),
              testing::ContainsRegex(" \\+0\\.0000 +- +1\\.0000 +1\\.0000 +- +no verdict\n"));
  const json read = json::parse(to_json(evaluation));
  const json& points = read["comparisons"][0]["points"];
  for (const char* name : {"low", "high", "smallest_detectable"}) {
    EXPECT_TRUE(points[0][name].is_number()) << name;
    EXPECT_TRUE(points[1][name].is_null()) << name;
  }
  EXPECT_EQ(points[1]["p"], 1.0);
}

TEST(Evaluation, OneTrialIsSingular) {
  Evaluation evaluation = by_position(1);
  evaluation.trials = 1;
  EXPECT_THAT(to_table(evaluation), AllOf(HasSubstr("1 window of 32 tokens"), Not(HasSubstr("overlap"))));
  evaluation.kind = EvaluationKind::kRetrieval;
  for (EvaluatedModel& one : evaluation.conditions[0].models) one.accuracy = {value(0.5), value(0.25)};
  judge(evaluation.kind, evaluation.conditions[0]);
  EXPECT_THAT(to_table(evaluation),
              AllOf(HasSubstr("1 trial of each length"), HasSubstr("each trial is a sequence of its own"),
                    Not(HasSubstr("overlap"))));
}

// Drawings of earlier numbers do not stay beside new ones; files that are not part of the page stay.
TEST(Evaluation, WritingRemovesWhatWasDrawnFromEarlierNumbers) {
  const TemporaryDirectory directory;
  for (const char* name : {"evaluation.png", "needle_attention.png", "report.html", "notes.txt"})
    core::write_text_atomically(directory.path() / name, "earlier");
  write_files(by_position(1), directory.path());
  for (const char* name : {"evaluation.png", "needle_attention.png", "report.html"})
    EXPECT_FALSE(std::filesystem::exists(directory.path() / name)) << name;
  for (const char* name : {"notes.txt", "evaluation.json", "evaluation.csv", "table.txt"})
    EXPECT_TRUE(std::filesystem::exists(directory.path() / name)) << name;
  write_files(by_position(1), directory.path());  // with nothing to remove
}

TEST(Evaluation, TheTableSaysWhichSeedsItsMeansAreOver) {
  Evaluation evaluation = by_position(3);
  std::vector<EvaluatedModel>& models = evaluation.conditions[0].models;
  models.erase(models.begin() + 4);  // "a" of seed 3
  for (const uint64_t seed : {1, 2}) models.push_back(model("d", seed, {3.5, 4.5}));
  models.back().seed = 5;
  judge(evaluation.kind, evaluation.conditions[0]);
  EXPECT_THAT(
      to_table(evaluation),
      AllOf(
          HasSubstr("  a: 2 seeds (1, 2)\n"),
          HasSubstr("  b, c: 2 seeds (1, 2), without 3, which the other side lacks\n"),
          HasSubstr("  d: seed 1, without 5, which the other side lacks\n"),
          HasSubstr("d minus a, loss: no verdict at any point (1 seed, paired: those that both have, 1).")));
}

TEST(Evaluation, AModelByItselfHasItsErrorAndNoDifference) {
  Evaluation evaluation = by_position(1);
  evaluation.conditions[0].models.pop_back();
  judge(evaluation.kind, evaluation.conditions[0]);
  EXPECT_THAT(to_table(evaluation), AllOf(HasSubstr("std. error"), Not(HasSubstr("verdict"))));
}

TEST(Evaluation, TheJsonReadsBack) {
  Evaluation evaluation = by_position(3);
  evaluation.conditions[0].models[1].changes.row_scale = 1.5;
  evaluation.conditions[0].models[1].fitted =
      FittedPositions{.a1 = 0.9, .a2 = 0.1, .rms_residual = 0.01, .max_residual = 0.02, .entries = 8};
  evaluation.conditions[0].models[1].loss[1].mean = std::numeric_limits<double>::quiet_NaN();
  evaluation.notes.push_back({/*warning=*/true, "careful"});
  judge(evaluation.kind, evaluation.conditions[0]);
  const json read = json::parse(to_json(evaluation));
  EXPECT_EQ(read["format"], "ssgpt-evaluation");
  EXPECT_EQ(read["version"], 1);
  EXPECT_EQ(read["max_length"], 32);
  EXPECT_FALSE(read.contains("bins"));
  EXPECT_EQ(read["models"].size(), 6);
  EXPECT_EQ(read["models"][0]["bins"][1]["first"], 8);
  EXPECT_EQ(read["models"][0]["bins"][1]["loss"], 4.0);
  EXPECT_EQ(read["models"][0]["overrides"]["row_scale"], nullptr);
  EXPECT_EQ(read["models"][1]["overrides"]["row_scale"], 1.5);
  EXPECT_EQ(read["models"][1]["pn_fit"]["a1"], 0.9);
  EXPECT_EQ(read["models"][1]["bins"][1]["loss"], nullptr);
  const json& comparison = read["comparisons"][0];
  EXPECT_EQ(comparison["figure"], "loss");
  EXPECT_EQ(comparison["points"][0]["verdict"], "lower");
  EXPECT_EQ(comparison["points"][0]["tests_corrected_for"], 1);  // two seeds are no test
  EXPECT_NEAR(comparison["points"][0]["seeds"][2]["difference"].get<double>(), -0.498, 1e-12);
  EXPECT_EQ(comparison["points"][1]["verdict"], "no verdict");
  EXPECT_EQ(comparison["points"][1]["missing"], 1);
  EXPECT_EQ(read["conditions"][0]["figures"][0]["variants"][0]["means"][1], 4.0);
  EXPECT_EQ(read["notes"][0]["text"], "careful");
}

TEST(Evaluation, TheOneModelAskedForStandsOnTop) {
  Evaluation evaluation = by_position(1);
  evaluation.single = true;
  EXPECT_EQ(json::parse(to_json(evaluation))["bins"][0]["loss"], 2.5);
}

TEST(Evaluation, ARetrievalHasTwoFiguresByLength) {
  Evaluation evaluation = by_position(3);
  evaluation.kind = EvaluationKind::kRetrieval;
  evaluation.points = {{8, 8}, {32, 32}};
  evaluation.task = "copy";
  for (EvaluatedModel& one : evaluation.conditions[0].models) one.accuracy = {value(0.5), value(0.25)};
  judge(evaluation.kind, evaluation.conditions[0]);
  const json read = json::parse(to_json(evaluation));
  EXPECT_EQ(read["models"][0]["results"][1]["length"], 32);
  EXPECT_EQ(read["models"][0]["results"][1]["accuracy"], 0.25);
  EXPECT_EQ(read["comparisons"][0]["figure"], "accuracy");
  EXPECT_EQ(read["comparisons"][1]["figure"], "loss");
  EXPECT_THAT(to_table(evaluation),
              AllOf(HasSubstr("task copy"), HasSubstr(": accuracy"), HasSubstr(": loss")));
  EXPECT_THAT(to_csv(evaluation), HasSubstr(",8,8,0.5,0.01,3,0.01,8,2\n"));
}

// Two lengths at two depths; "b" is right more often at the second length.
Evaluation by_needle(size_t seeds) {
  Evaluation evaluation;
  evaluation.kind = EvaluationKind::kNeedle;
  for (const int64_t length : {8, 32}) {
    for (const int64_t depth : {0, 50}) evaluation.points.push_back({length, length, depth});
  }
  evaluation.trained_length = 8;
  evaluation.data = {"v.bin"};
  evaluation.prompt = "{city}:";
  evaluation.distractors = 9;
  evaluation.answer_tokens = 10;
  evaluation.trials = 4;
  EvaluatedCondition& condition = evaluation.conditions.emplace_back();
  condition.baseline = "a";
  for (size_t seed = 1; seed <= seeds; ++seed) {
    for (const char* variant : {"a", "b"}) {
      EvaluatedModel& one = condition.models.emplace_back(model(variant, seed, {}));
      for (size_t i = 0; i < 4; ++i) {
        const bool better = variant[0] == 'b' && i > 1;
        const std::vector<double> right =
            better ? std::vector<double>{1.0, 1.0, 1.0, 0.0} : std::vector<double>{0.0, 1.0, 0.0, 0.0};
        one.share_right.push_back(
            {.mean = better ? 0.75 : 0.25, .standard_error = 0.25, .tokens = 4, .trials = right});
        one.margin.push_back({.mean = better ? 2.0 + 0.01 * static_cast<double>(seed) : -1.0,
                              .standard_error = 0.5,
                              .tokens = 4,
                              .trials = {-1.0, 0.0, 1.0, 2.0}});
        one.first_digit_right.push_back(better ? 4 : 2);
      }
    }
  }
  judge(evaluation.kind, condition);
  return evaluation;
}

TEST(Evaluation, NeedlesHaveSharesAndMarginsByLengthAndDepth) {
  const Evaluation evaluation = by_needle(3);
  const std::string table = to_table(evaluation);
  EXPECT_THAT(table, AllOf(HasSubstr("Needle in a haystack: a; b"),
                           HasSubstr("4 trials of each length at each depth"), HasSubstr("9 wrong ones"),
                           HasSubstr(": share right, share of the trials"),
                           HasSubstr(": margin, nats; 3 seeds"), Not(HasSubstr("1 of 4"))));
  EXPECT_THAT(table, testing::ContainsRegex(" 32 +4 +50 +0\\.2500 +0\\.7500 +\\+0\\.5000 "));
  EXPECT_THAT(table, HasSubstr("margin: higher at 32 at 0 %, 32 at 50 %"));
  const json read = json::parse(to_json(evaluation));
  EXPECT_EQ(read["kind"], "needle");
  EXPECT_EQ(read["max_length"], 32);
  EXPECT_EQ(read["prompt"], "{city}:");
  EXPECT_EQ(read["distractors"], 9);
  const json& result = read["models"][1]["results"][3];
  EXPECT_EQ(result["length"], 32);
  EXPECT_EQ(result["depth"], 50);
  EXPECT_EQ(result["trials"], 4);
  EXPECT_EQ(result["correct"], 3);
  EXPECT_EQ(result["share_right"], 0.75);
  // The roots of (p - 3/4)^2 = 1.96^2 p (1 - p) / 4.
  EXPECT_NEAR(result["share_right_low"].get<double>(), 0.3006418, 1e-6);
  EXPECT_NEAR(result["share_right_high"].get<double>(), 0.9544127, 1e-6);
  EXPECT_EQ(result["first_digit_right"], 4);
  EXPECT_EQ(result["margin"], 2.01);
  EXPECT_EQ(result["margin_stderr"], 0.5);
  EXPECT_EQ(read["comparisons"][0]["figure"], "share_right");
  EXPECT_EQ(read["comparisons"][1]["figure"], "margin");
  EXPECT_EQ(read["comparisons"][1]["points"][3]["depth"], 50);
  EXPECT_EQ(read["comparisons"][1]["points"][3]["verdict"], "higher");
  EXPECT_THAT(to_csv(evaluation),
              AllOf(HasSubstr("last,depth,share_right,share_right_stderr,margin,margin_stderr,trials\n"),
                    HasSubstr(",32,32,50,0.75,0.25,2.01,0.5,4\n")));
}

TEST(Evaluation, NeedlesOfOneModelAreCounted) {
  Evaluation evaluation = by_needle(1);
  std::vector<EvaluatedModel>& models = evaluation.conditions[0].models;
  models.pop_back();
  models[0].share_right[1] = {.trials = {0.0, std::numeric_limits<double>::quiet_NaN(), 0.0, 0.0}};
  judge(evaluation.kind, evaluation.conditions[0]);
  const std::string table = to_table(evaluation);
  EXPECT_THAT(table, testing::ContainsRegex("length +x trained +depth, % +a +right +95 % interval\n"));
  EXPECT_THAT(table, testing::ContainsRegex(" 8 +1 +0 +0\\.2500 +1 of 4 +0\\.046 \\.\\. 0\\.699\n"));
  EXPECT_THAT(table, testing::ContainsRegex(" 8 +1 +50 +- +- +-\n"));
  const json read = json::parse(to_json(evaluation));
  EXPECT_TRUE(read["models"][0]["results"][1]["correct"].is_null());
  EXPECT_TRUE(read["models"][0]["results"][1]["share_right_low"].is_null());
}

TEST(Evaluation, TheCsvHasALineForEachModelAndPoint) {
  const std::string csv = to_csv(by_position(1));
  EXPECT_EQ(std::count(csv.begin(), csv.end(), '\n'), 1 + 2 * 2);
  EXPECT_THAT(
      csv,
      HasSubstr("\nRoPE theta as trained (10000),\"b, c\",1,\"runs/b, c\",7,softmax,10000,,,,8,31,4.25,"));
}

}  // namespace
}  // namespace ssgpt::report
