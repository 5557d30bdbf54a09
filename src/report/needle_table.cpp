#include "report/needle_table.h"

#include "report/evaluation_cells.h"
#include "report/evaluation_words.h"
#include "report/text_table.h"

#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include <fmt/format.h>
#include <fmt/ranges.h>

namespace ssgpt::report {
namespace {

using Models = std::vector<const EvaluatedModel*>;

constexpr size_t kMostHeadsNamed = 4;

// "2.7"; with several seeds "2.7, 0.3, 1.1"
std::string top_heads_cell(const Models& models, size_t point) {
  std::vector<std::string> names;
  for (const EvaluatedModel* model : models) {
    const NeedleHead& top = model->needle_attention[point].heads.front();
    if (names.size() < kMostHeadsNamed) names.push_back(fmt::format("{}.{}", top.layer, top.head));
  }
  return fmt::format("{}{}", fmt::join(names, ", "), models.size() > kMostHeadsNamed ? ", ..." : "");
}

double mean_of_top_heads(const Models& models, size_t point) {
  double sum = 0.0;
  for (const EvaluatedModel* model : models) sum += model->needle_attention[point].heads.front().mean;
  return sum / static_cast<double>(models.size());
}

// "0.4310 (12)": the mean of the largest weights of the trials with this outcome, and their number.
std::string outcome_cell(const Models& models, size_t point, TrialOutcome outcome) {
  double sum = 0.0;
  int64_t trials = 0;
  for (const EvaluatedModel* model : models) {
    for (const NeedleTop& trial : model->needle_attention[point].trials) {
      if (trial.outcome != outcome) continue;
      sum += trial.weight;
      ++trials;
    }
  }
  return trials == 0 ? "-" : fmt::format("{} ({})", value_text(sum / static_cast<double>(trials)), trials);
}

}  // namespace

std::string needle_attention_text(const Evaluation& evaluation, const EvaluatedCondition& condition) {
  if (condition.models.front().needle_attention.empty()) return "";
  const std::vector<Models> variants = models_by_variant(condition);
  std::vector<std::string> head = point_head(evaluation.kind);
  std::vector<TextTable::Align> columns(head.size(), TextTable::Align::kRight);
  columns.push_back(TextTable::Align::kLeft);
  head.insert(head.end(), {"variant", "top head", "its weight"});
  for (const TrialOutcome outcome : kTrialOutcomes) head.emplace_back(to_string(outcome));
  columns.resize(head.size(), TextTable::Align::kRight);
  TextTable table(std::move(columns));
  table.add(std::move(head));
  table.add_rule();
  for (size_t point = 0; point < evaluation.points.size(); ++point) {
    for (const Models& models : variants) {
      std::vector<std::string> row = point_cells(evaluation, evaluation.points[point]);
      row.insert(row.end(), {models.front()->variant, top_heads_cell(models, point),
                             value_text(mean_of_top_heads(models, point))});
      for (const TrialOutcome outcome : kTrialOutcomes) row.push_back(outcome_cell(models, point, outcome));
      table.add(std::move(row));
    }
  }
  return fmt::format(
      "\n{}: attention on the needle; shown, not judged\n{}"
      "  Weight: what the last token of the prompt pays to the needle's tokens together. Top head: "
      "layer.head, both\n"
      "  from 0, of the largest mean over trials, of each seed; its weight: that mean, over seeds. Right, "
      "first digit,\n"
      "  wrong: mean of the largest weight of any head over the trials with this answer, of all seeds (and "
      "how many\n"
      "  they are).\n",
      condition_title(condition), table.text(/*indent=*/2));
}

}  // namespace ssgpt::report
