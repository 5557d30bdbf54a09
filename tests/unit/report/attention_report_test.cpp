// Tables, JSON and CSV of an evaluation of attention, of numbers that are chosen.

#include "report/evaluation.h"

#include <algorithm>
#include <limits>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

namespace ssgpt::report {
namespace {

using ParsedJson = nlohmann::json;
using testing::AllOf;
using testing::ContainsRegex;
using testing::HasSubstr;
using testing::Not;

// Two layers of two heads at two points; every figure of head h in layer l is base + l + h / 8 at the first
// point, and twice that at the second.
AttentionValues attention_of(double base) {
  AttentionValues values;
  for (const double layer_number : {0.0, 1.0}) {
    AttentionLayer& layer = values.layers.emplace_back();
    for (size_t head = 0; head < 2; ++head) {
      const double first = base + layer_number + static_cast<double>(head) / 8.0;
      PerAttentionFigure<std::vector<double>>& figures = layer.heads.emplace_back();
      for (std::vector<double>& figure : figures) figure = {first, 2.0 * first};
    }
    const double mean = base + layer_number + 1.0 / 16.0;
    for (std::vector<PointValue>& figure : layer.mean) {
      for (const double value : {mean, 2.0 * mean})
        figure.push_back({.mean = value, .standard_error = 0.5, .tokens = 16, .trials = {value, value}});
    }
  }
  // Over both layers, in the first of two windows one below it and in the second one above.
  for (std::vector<PointValue>& figure : values.mean) {
    const double mean = base + 0.5 + 1.0 / 16.0;
    for (const double value : {mean, 2.0 * mean})
      figure.push_back(
          {.mean = value, .standard_error = 1.0, .tokens = 16, .trials = {value - 1.0, value + 1.0}});
  }
  values.even_entropy = {1.5, 3.0};
  values.even_weight = {0.25, 0.0625};
  return values;
}

EvaluatedModel attention_model(const std::string& variant, uint64_t seed, double base) {
  EvaluatedModel result;
  result.variant = variant;
  result.seed = seed;
  result.checkpoint = "runs/" + variant;
  result.attention = "softmax";
  result.trained_length = 8;
  result.rope_theta = 10000.0;
  result.attention_values = attention_of(base);
  return result;
}

Evaluation of_attention() {
  Evaluation evaluation;
  evaluation.kind = EvaluationKind::kAttention;
  evaluation.points = {{0, 7}, {8, 31}};
  evaluation.trained_length = 8;
  evaluation.data = {"v.bin"};
  evaluation.trials = 2;
  EvaluatedCondition& condition = evaluation.conditions.emplace_back();
  condition.baseline = "a";
  condition.models = {attention_model("a", 1, 0.0), attention_model("b, c", 1, 4.0),
                      attention_model("a", 2, 1.0)};
  judge(evaluation.kind, condition);
  return evaluation;
}

TEST(AttentionReport, TheTableHasMeansOverHeadsAndSeedsByLayer) {
  const Evaluation evaluation = of_attention();
  const std::string table = to_table(evaluation);
  EXPECT_THAT(table, AllOf(HasSubstr("Attention by position: a (2 seeds (1, 2)); b, c (seed 1)\n"),
                           HasSubstr("2 windows of 32 tokens, which do not overlap (overlap 0), of v.bin.\n"),
                           HasSubstr("Trained on windows of 8 tokens")));
  for (const char* heading : {"entropy of attention, nats", "largest attention weight",
                              "attention to the first token", "effective row scale"})
    EXPECT_THAT(table, HasSubstr(std::string("RoPE theta as trained (10000): ") + heading + "\n"));
  EXPECT_THAT(table, ContainsRegex("positions +0\\.\\.7 +8\\.\\.31\n +context +1\\.\\.8 +9\\.\\.32\n"));
  // Seeds 1 and 2 of "a" have 1/16 and 1 + 1/16 in layer 0.
  EXPECT_THAT(table, ContainsRegex("a, layer 0 +0\\.5625 +1\\.1250\n +a, layer 1 +1\\.5625 +3\\.1250\n"));
  EXPECT_THAT(table, ContainsRegex("b, c, layer 1 +5\\.0625 +10\\.1250\n"));
  EXPECT_THAT(table, ContainsRegex("spread evenly +1\\.5000 +3\\.0000\n"));
  EXPECT_THAT(table, ContainsRegex("spread evenly +0\\.2500 +0\\.0625\n"));
  EXPECT_THAT(table,
              HasSubstr("from positions 0..7 to 8..31\n"
                        "  a: the largest weight goes from 1.0625 to 2.1250, the first token's from 1.0625 "
                        "to 2.1250, the entropy from 1.0625 to 2.1250.\n"));
}

TEST(AttentionReport, DifferencesOverAllLayersHaveVerdictsBySeed) {
  Evaluation evaluation = of_attention();
  EvaluatedCondition& condition = evaluation.conditions[0];
  condition.models.clear();
  // Minus "a", "b" is 1.0, 1.1 and 1.2 at the first point, and twice that at the second.
  for (const uint64_t seed : {1, 2, 3}) {
    const auto base = static_cast<double>(seed);
    condition.models.push_back(attention_model("a", seed, base));
    condition.models.push_back(attention_model("b", seed, base + 0.9 + 0.1 * base));
  }
  judge(evaluation.kind, condition);
  const std::string table = to_table(evaluation);
  for (const char* name :
       {"entropy of attention, nats", "largest attention weight, share of a query's attention",
        "attention to the first token, share of a query's attention"}) {
    EXPECT_THAT(table, HasSubstr(std::string("RoPE theta as trained (10000): ") + name +
                                 " (over all layers and heads); 3 seeds (1, 2, 3)\n"));
  }
  EXPECT_THAT(table, Not(HasSubstr("effective row scale, ")));
  // t = 1.1 / (0.1 / sqrt 3) = 19.05 with 2 degrees of freedom: p = 1 - t / sqrt(2 + t^2) = 0.00274.
  EXPECT_THAT(table,
              ContainsRegex("0\\.\\.7 .* 2\\.5625 +3\\.6625 +\\+1\\.1000 .*0\\.0027 +0\\.0055 .*higher"));
  EXPECT_THAT(table,
              HasSubstr("b minus a, largest attention weight: higher at 0..7, 8..31 (3 seeds, paired)."));
  const ParsedJson read = ParsedJson::parse(to_json(evaluation));
  std::vector<std::string> figures;
  for (const ParsedJson& one : read["comparisons"]) figures.push_back(one["figure"]);
  EXPECT_THAT(figures, testing::ElementsAre("entropy", "largest_weight", "first_token_weight"));
  EXPECT_EQ(read["comparisons"][1]["points"][0]["verdict"], "higher");
  EXPECT_EQ(read["comparisons"][1]["points"][0]["tests_corrected_for"], 2);
}

TEST(AttentionReport, OneVariantHasNoDifferences) {
  Evaluation evaluation = of_attention();
  EvaluatedCondition& condition = evaluation.conditions[0];
  condition.models.erase(condition.models.begin() + 1);
  judge(evaluation.kind, condition);
  EXPECT_THAT(to_table(evaluation),
              AllOf(HasSubstr("a, layer 1"), Not(HasSubstr("over all layers and heads);"))));
}

TEST(AttentionReport, ModelsThatSeeOtherKeysHaveNoCommonEvenSpread) {
  Evaluation evaluation = of_attention();
  evaluation.conditions[0].models[1].attention_values.even_entropy[1] = 2.0;
  const std::string table = to_table(evaluation);
  EXPECT_THAT(table, Not(ContainsRegex("spread evenly +1\\.5000")));
  EXPECT_THAT(table, ContainsRegex("spread evenly +0\\.2500"));  // of the weights, which agree
}

TEST(AttentionReport, OnePointDoesNotChange) {
  Evaluation evaluation = of_attention();
  evaluation.points.pop_back();
  EXPECT_THAT(to_table(evaluation), AllOf(HasSubstr("a, layer 0"), Not(HasSubstr("goes from"))));
}

TEST(AttentionReport, TheJsonHasEveryHead) {
  Evaluation evaluation = of_attention();
  evaluation.conditions[0].models[1].attention_values.layers[0].mean[1][1].mean =
      std::numeric_limits<double>::quiet_NaN();
  const ParsedJson read = ParsedJson::parse(to_json(evaluation));
  EXPECT_EQ(read["format"], "ssgpt-evaluation");
  EXPECT_EQ(read["kind"], "attention");
  EXPECT_EQ(read["max_length"], 32);
  EXPECT_EQ(read["windows"], 2);
  EXPECT_EQ(read["data"], ParsedJson({"v.bin"}));
  EXPECT_FALSE(read.contains("layers"));
  const ParsedJson& one = read["models"][1];
  EXPECT_EQ(one["bins"].size(), 2u);
  EXPECT_EQ(one["bins"][1], ParsedJson::parse(R"({"first": 8, "last": 31, "tokens": 16, "entropy": 9.125,
      "entropy_stderr": 1.0, "largest_weight": 9.125, "largest_weight_stderr": 1.0, "first_token_weight": 9.125,
      "first_token_weight_stderr": 1.0, "effective_row_scale": 9.125, "effective_row_scale_stderr": 1.0})"));
  EXPECT_EQ(one["spread_evenly"], ParsedJson::parse(R"({"entropy": [1.5, 3.0], "weight": [0.25, 0.0625]})"));
  EXPECT_EQ(one["layers"].size(), 2u);
  EXPECT_EQ(one["layers"][0]["entropy"], ParsedJson({4.0625, 8.125}));
  EXPECT_EQ(one["layers"][0]["entropy_stderr"], ParsedJson({0.5, 0.5}));
  EXPECT_EQ(one["layers"][0]["largest_weight"], ParsedJson({4.0625, nullptr}));
  EXPECT_EQ(one["layers"][1]["heads"][1]["first_token_weight"], ParsedJson({5.125, 10.25}));
  EXPECT_EQ(one["layers"][1]["heads"][0]["effective_row_scale"], ParsedJson({5.0, 10.0}));
  evaluation.single = true;
  EXPECT_EQ(ParsedJson::parse(to_json(evaluation))["layers"], read["models"][2]["layers"]);
}

TEST(AttentionReport, TheCsvHasALineForEachHeadAndOneForTheirMean) {
  const std::string csv = to_csv(of_attention());
  // Models, layers, two heads and their mean, points.
  EXPECT_EQ(std::count(csv.begin(), csv.end(), '\n'), 1 + 3 * 2 * 3 * 2);
  EXPECT_THAT(csv, HasSubstr(",layer,head,first,last,entropy,largest_weight,first_token_weight,"
                             "effective_row_scale\n"));
  EXPECT_THAT(csv,
              HasSubstr("\nRoPE theta as trained (10000),\"b, c\",1,\"runs/b, c\",,softmax,10000,,,,1,,8,31,"
                        "10.125,10.125,10.125,10.125\n"));
  EXPECT_THAT(csv, HasSubstr(",1,1,0,7,5.125,5.125,5.125,5.125\n"));
}

}  // namespace
}  // namespace ssgpt::report
