#include "report/evaluation.h"

#include "core/file.h"
#include "core/text.h"
#include "report/attention_report.h"
#include "report/csv.h"
#include "report/drawn_files.h"

#include <algorithm>
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
                      .points = figure == Figure::kLoss ? model.loss : model.accuracy});
  }
  return curves;
}

}  // namespace

std::string_view to_string(EvaluationKind kind) {
  switch (kind) {
    case EvaluationKind::kPosition:
      return "position";
    case EvaluationKind::kRetrieval:
      return "retrieval";
    case EvaluationKind::kAttention:
      break;
  }
  return "attention";
}

void judge(EvaluationKind kind, EvaluatedCondition& condition) {
  condition.figures.clear();
  if (kind == EvaluationKind::kAttention) return;
  if (kind == EvaluationKind::kRetrieval) {
    condition.figures.push_back(
        judge_curves(Figure::kAccuracy, curves_of(condition, Figure::kAccuracy), condition.baseline));
  }
  condition.figures.push_back(
      judge_curves(Figure::kLoss, curves_of(condition, Figure::kLoss), condition.baseline));
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
  const bool retrieval = evaluation.kind == EvaluationKind::kRetrieval;
  std::string text =
      "condition,variant,seed,checkpoint,step,attention,rope_theta,yarn_factor,row_scale,swapped_to,first,"
      "last,";
  text += retrieval ? "accuracy,accuracy_stderr,loss,stderr,tokens,trials\n" : "loss,stderr,tokens,trials\n";
  const auto optional = [](const auto& value) {
    return value ? fmt::format("{}", *value) : std::string();
  };
  for (const EvaluatedCondition& condition : evaluation.conditions) {
    for (const EvaluatedModel& model : condition.models) {
      for (size_t i = 0; i < evaluation.points.size(); ++i) {
        const PointValue& loss = model.loss[i];
        text += fmt::format("{},{},{},{},{},{},{},{},{},{},{},{},", csv_field(condition_title(condition)),
                            csv_field(model.variant), model.seed, csv_field(model.checkpoint.string()),
                            optional(model.step), model.attention, csv_number(model.rope_theta),
                            optional(model.changes.yarn_factor), optional(model.changes.row_scale),
                            optional(model.changes.attention), evaluation.points[i].first,
                            evaluation.points[i].last);
        if (retrieval) {
          text += fmt::format("{},{},", csv_number(model.accuracy[i].mean),
                              csv_number(model.accuracy[i].standard_error));
        }
        text += fmt::format("{},{},{},{}\n", csv_number(loss.mean), csv_number(loss.standard_error),
                            loss.tokens, loss.trials.size());
      }
    }
  }
  return text;
}

void write_files(const Evaluation& evaluation, const std::filesystem::path& directory) {
  core::create_writable_directory(directory);
  remove_drawn_files(directory, "evaluation.png");
  core::write_text_atomically(directory / "evaluation.csv", to_csv(evaluation));
  core::write_text_atomically(directory / "table.txt", core::printable(to_table(evaluation)));
  core::write_text_atomically(directory / "evaluation.json", to_json(evaluation));
}

}  // namespace ssgpt::report
