// The attention on needles in tables, and in JSON, of values made by hand.

#include "report/evaluation.h"

#include <cstdint>
#include <limits>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

namespace ssgpt::report {
namespace {

using testing::ContainsRegex;
using testing::HasSubstr;
using testing::Not;

// Two trials at each of two depths. The weights of the second are a tenth of those of the first.
EvaluatedModel needle_model(const std::string& variant, uint64_t seed, double weight) {
  EvaluatedModel model;
  model.variant = variant;
  model.seed = seed;
  model.rope_theta = 10000.0;
  for (const double factor : {1.0, 0.1}) {
    model.share_right.push_back({.mean = 0.5, .standard_error = 0.5, .tokens = 2, .trials = {1.0, 0.0}});
    model.margin.push_back({.mean = 0.0, .standard_error = 1.0, .tokens = 2, .trials = {-1.0, 1.0}});
    model.first_digit_right.push_back(1);
    const auto top = static_cast<int64_t>(seed);
    NeedleAttention& attention = model.needle_attention.emplace_back();
    attention.heads = {{.layer = top, .head = 3, .mean = 0.5 * factor * weight},
                       {.layer = 0, .head = 0, .mean = 0.0}};
    attention.trials = {{.layer = top, .head = 3, .weight = factor * weight, .outcome = TrialOutcome::kRight},
                        {.layer = 1, .head = 0, .weight = 0.25 * factor, .outcome = TrialOutcome::kWrong}};
  }
  return model;
}

Evaluation with_attention(std::vector<EvaluatedModel> models) {
  Evaluation evaluation;
  evaluation.kind = EvaluationKind::kNeedle;
  evaluation.points = {{64, 64, 0}, {64, 64, 50}};
  evaluation.trained_length = 32;
  evaluation.data = {"v.bin"};
  evaluation.trials = 2;
  EvaluatedCondition& condition = evaluation.conditions.emplace_back();
  condition.baseline = models.front().variant;
  condition.models = std::move(models);
  judge(evaluation.kind, condition);
  return evaluation;
}

TEST(NeedleTable, HasTheTopHeadAndTheWeightsByOutcome) {
  const std::string table = to_table(with_attention({needle_model("a", 1, 0.8)}));
  EXPECT_THAT(table,
              HasSubstr("\nRoPE theta as trained (10000): attention on the needle; shown, not judged\n"));
  EXPECT_THAT(table, ContainsRegex("length +x trained +depth, % +variant +top head +its weight +right +first "
                                   "digit +wrong\n"));
  EXPECT_THAT(table, ContainsRegex(" 64 +2 +0 +a +1\\.3 +0\\.4000 +0\\.8000 \\(1\\) +- +0\\.2500 \\(1\\)\n"));
  EXPECT_THAT(table,
              ContainsRegex(" 64 +2 +50 +a +1\\.3 +0\\.0400 +0\\.0800 \\(1\\) +- +0\\.0250 \\(1\\)\n"));
}

TEST(NeedleTable, IsOverSeedsAndNamesFourOfTheirHeads) {
  std::vector<EvaluatedModel> models;
  for (const uint64_t seed : {1, 2, 3, 4, 5}) {
    models.push_back(needle_model("a", seed, 0.1 * static_cast<double>(seed)));
    models.push_back(needle_model("b", seed, 0.9));
  }
  models[1].needle_attention[0].trials[1].outcome = TrialOutcome::kFirstDigit;
  models.pop_back();  // "b" of seed 5
  const std::string table = to_table(with_attention(models));
  // Means of 0.1 to 0.5, and of halves of them.
  EXPECT_THAT(table,
              ContainsRegex(" 0 +a +1\\.3, 2\\.3, 3\\.3, 4\\.3, \\.\\.\\. +0\\.1500 +0\\.3000 \\(5\\) +- "
                            "+0\\.2500 \\(5\\)\n"));
  EXPECT_THAT(table,
              ContainsRegex(" 0 +b +1\\.3, 2\\.3, 3\\.3, 4\\.3 +0\\.4500 +0\\.9000 \\(4\\) +0\\.2500 \\(1\\) "
                            "+0\\.2500 \\(3\\)\n"));
}

TEST(NeedleTable, LeavesOutWhatIsNotFinite) {
  EvaluatedModel model = needle_model("a", 1, 0.8);
  model.needle_attention[0].heads[0].mean = std::numeric_limits<double>::quiet_NaN();
  model.needle_attention[0].trials[0].weight = std::numeric_limits<double>::quiet_NaN();
  const Evaluation evaluation = with_attention({model});
  EXPECT_THAT(to_table(evaluation), ContainsRegex(" 0 +a +1\\.3 +- +- \\(1\\) +- +0\\.2500 \\(1\\)\n"));
  const auto read = nlohmann::json::parse(to_json(evaluation));
  const auto& attention = read["models"][0]["results"][0]["attention"];
  EXPECT_TRUE(attention["heads"][0]["mean"].is_null());
  EXPECT_TRUE(attention["trials"][0]["weight"].is_null());
  EXPECT_EQ(attention["trials"][0]["outcome"], "right");
  EXPECT_EQ(attention["trials"][1]["outcome"], "wrong");
  EXPECT_EQ(attention["trials"][1]["weight"], 0.25);
}

TEST(NeedleTable, IsLeftOutWhereNoAttentionWasMeasured) {
  EvaluatedModel model = needle_model("a", 1, 0.8);
  model.needle_attention.clear();
  EXPECT_THAT(to_table(with_attention({model})), Not(HasSubstr("attention")));
}

TEST(NeedleTable, OutcomesHaveNamesOfTheirOwn) {
  std::vector<std::string_view> names;
  for (const TrialOutcome outcome : kTrialOutcomes) names.push_back(to_string(outcome));
  EXPECT_THAT(names, testing::ElementsAre("right", "first digit", "wrong"));
}

}  // namespace
}  // namespace ssgpt::report
