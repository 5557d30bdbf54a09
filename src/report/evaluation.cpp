#include "report/evaluation.h"

#include "core/check.h"
#include "core/file.h"
#include "core/text.h"
#include "report/attention_report.h"
#include "report/csv.h"
#include "report/drawn_files.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include <fmt/format.h>

namespace ssgpt::report {
namespace {

std::vector<MeasuredCurve> curves_of(const EvaluatedCondition& condition, Figure figure) {
  std::vector<MeasuredCurve> curves;
  for (const EvaluatedModel& model : condition.models) {
    curves.push_back({.variant = model.variant,
                      .seed = model.seed,
                      .checkpoint = model.checkpoint,
                      .points = values_of(model, figure)});
  }
  return curves;
}

std::string_view csv_value_names(EvaluationKind kind) {
  switch (kind) {
    case EvaluationKind::kPosition:
      return "loss,stderr,tokens,trials\n";
    case EvaluationKind::kRetrieval:
      return "accuracy,accuracy_stderr,loss,stderr,tokens,trials\n";
    case EvaluationKind::kNeedle:
      return "depth,share_right,share_right_stderr,margin,margin_stderr,trials\n";
    case EvaluationKind::kAttention:
      break;  // see attention_csv()
  }
  SSGPT_CHECK(false, "evaluation {} has no columns", static_cast<int>(kind));
}

// The columns of csv_value_names() at point `i`.
std::string csv_values(const Evaluation& evaluation, const EvaluatedModel& model, size_t i) {
  std::string text;
  if (const auto& depth = evaluation.points[i].depth) text += fmt::format("{},", *depth);
  for (const Figure figure : figures_of(evaluation.kind)) {
    const PointValue& value = values_of(model, figure)[i];
    text += fmt::format("{},{},", csv_number(value.mean), csv_number(value.standard_error));
  }
  const PointValue& last = values_of(model, figures_of(evaluation.kind).back())[i];
  if (evaluation.kind != EvaluationKind::kNeedle) text += fmt::format("{},", last.tokens);
  return text + fmt::format("{}\n", last.trials.size());
}

}  // namespace

std::string_view to_string(EvaluationKind kind) {
  switch (kind) {
    case EvaluationKind::kPosition:
      return "position";
    case EvaluationKind::kRetrieval:
      return "retrieval";
    case EvaluationKind::kNeedle:
      return "needle";
    case EvaluationKind::kAttention:
      return "attention";
  }
  SSGPT_CHECK(false, "evaluation {} has no name", static_cast<int>(kind));
}

std::string_view to_string(TrialOutcome outcome) {
  switch (outcome) {
    case TrialOutcome::kRight:
      return "right";
    case TrialOutcome::kFirstDigit:
      return "first digit";
    case TrialOutcome::kWrong:
      return "wrong";
  }
  SSGPT_CHECK(false, "outcome {} has no name", static_cast<int>(outcome));
}

std::vector<Figure> figures_of(EvaluationKind kind) {
  if (kind == EvaluationKind::kAttention) return {};
  if (kind == EvaluationKind::kNeedle) return {Figure::kShareRight, Figure::kMargin};
  if (kind == EvaluationKind::kRetrieval) return {Figure::kAccuracy, Figure::kLoss};
  return {Figure::kLoss};
}

const std::vector<PointValue>& values_of(const EvaluatedModel& model, Figure figure) {
  switch (figure) {
    case Figure::kLoss:
      return model.loss;
    case Figure::kAccuracy:
      return model.accuracy;
    case Figure::kShareRight:
      return model.share_right;
    case Figure::kMargin:
      return model.margin;
  }
  SSGPT_CHECK(false, "figure {} has no values", static_cast<int>(figure));
}

std::optional<int64_t> num_right(const PointValue& share_right) {
  if (!std::isfinite(share_right.mean)) return std::nullopt;
  return std::count(share_right.trials.begin(), share_right.trials.end(), 1.0);
}

void judge(EvaluationKind kind, EvaluatedCondition& condition) {
  condition.figures.clear();
  for (const Figure figure : figures_of(kind))
    condition.figures.push_back(judge_curves(figure, curves_of(condition, figure), condition.baseline));
}

std::string condition_title(const EvaluatedCondition& condition) {
  const std::optional<double> yarn = condition.models.front().changes.yarn_factor;
  const std::string stretched = yarn ? fmt::format(", YaRN factor {}", *yarn) : "";
  if (condition.rope_theta) return fmt::format("RoPE theta {}{}", *condition.rope_theta, stretched);
  const double theta = condition.models.front().rope_theta;
  const bool same = std::all_of(condition.models.begin(), condition.models.end(),
                                [&](const EvaluatedModel& model) { return model.rope_theta == theta; });
  const std::string trained =
      same ? fmt::format("RoPE theta as trained ({})", theta) : "RoPE theta as each was trained";
  return trained + stretched;
}

std::string to_csv(const Evaluation& evaluation) {
  if (evaluation.kind == EvaluationKind::kAttention) return attention_csv(evaluation);
  std::string text =
      "condition,variant,seed,checkpoint,step,attention,rope_theta,yarn_factor,row_scale,swapped_to,first,"
      "last,";
  text += csv_value_names(evaluation.kind);
  const auto optional = [](const auto& value) {
    return value ? fmt::format("{}", *value) : std::string();
  };
  for (const EvaluatedCondition& condition : evaluation.conditions) {
    for (const EvaluatedModel& model : condition.models) {
      for (size_t i = 0; i < evaluation.points.size(); ++i) {
        text += fmt::format("{},{},{},{},{},{},{},{},{},{},{},{},", csv_field(condition_title(condition)),
                            csv_field(model.variant), model.seed, csv_field(model.checkpoint.string()),
                            optional(model.step), model.attention, csv_number(model.rope_theta),
                            optional(model.changes.yarn_factor), optional(model.changes.row_scale),
                            optional(model.changes.attention), evaluation.points[i].first,
                            evaluation.points[i].last);
        text += csv_values(evaluation, model, i);
      }
    }
  }
  return text;
}

void write_files(const Evaluation& evaluation, const std::filesystem::path& directory) {
  core::create_writable_directory(directory);
  remove_drawn_files(directory, {"evaluation.png", "needle_attention.png"});
  core::write_text_atomically(directory / "evaluation.csv", to_csv(evaluation));
  core::write_text_atomically(directory / "table.txt", core::printable(to_table(evaluation)));
  core::write_text_atomically(directory / "evaluation.json", to_json(evaluation));
}

}  // namespace ssgpt::report
