#include "report/attention_report.h"

#include "report/csv.h"
#include "report/evaluation_cells.h"
#include "report/evaluation_words.h"

#include <algorithm>
#include <limits>
#include <optional>
#include <utility>

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

namespace ssgpt::report {
namespace {

struct AttentionVariant {
  std::string name;
  std::vector<uint64_t> seeds;
  std::vector<const EvaluatedModel*> models;

  size_t num_layers() const { return models.front()->attention_values.layers.size(); }

  // Mean over seeds, for one layer at one point.
  double mean(size_t layer, AttentionFigure figure, size_t point) const {
    double sum = 0.0;
    for (const EvaluatedModel* model : models)
      sum += model->attention_values.layers[layer].mean[static_cast<size_t>(figure)][point].mean;
    return sum / static_cast<double>(models.size());
  }

  // Mean over seeds and all layers.
  double mean(AttentionFigure figure, size_t point) const {
    double sum = 0.0;
    for (const EvaluatedModel* model : models)
      sum += model->attention_values.mean[static_cast<size_t>(figure)][point].mean;
    return sum / static_cast<double>(models.size());
  }
};

std::vector<AttentionVariant> group_by_variant(const EvaluatedCondition& condition) {
  std::vector<AttentionVariant> variants;
  for (std::vector<const EvaluatedModel*>& models : models_by_variant(condition)) {
    AttentionVariant& variant = variants.emplace_back();
    variant.name = models.front()->variant;
    for (const EvaluatedModel* model : models) variant.seeds.push_back(model->seed);
    variant.models = std::move(models);
  }
  return variants;
}

// The values for uniform attention over all keys; nullopt for the row scale, and if the models see different
// numbers of keys, as when only some of them use document masking.
std::optional<std::vector<double>> spread_evenly(const EvaluatedCondition& condition,
                                                 AttentionFigure figure) {
  if (figure == AttentionFigure::kRowScale) return std::nullopt;
  const auto values = [&](const EvaluatedModel& model) {
    return figure == AttentionFigure::kEntropy ? model.attention_values.even_entropy
                                               : model.attention_values.even_weight;
  };
  const std::vector<double> first = values(condition.models.front());
  const bool equal = std::all_of(condition.models.begin(), condition.models.end(),
                                 [&](const EvaluatedModel& model) { return values(model) == first; });
  return equal ? std::optional(first) : std::nullopt;
}

std::string attention_figure_text(const Evaluation& evaluation, const EvaluatedCondition& condition,
                                  const std::vector<AttentionVariant>& variants, AttentionFigure figure) {
  std::vector<std::string> names;
  std::vector<std::vector<double>> rows;
  if (const auto evenly = spread_evenly(condition, figure)) {
    names.emplace_back("spread evenly");
    rows.push_back(*evenly);
  }
  for (const AttentionVariant& variant : variants) {
    for (size_t layer = 0; layer < variant.num_layers(); ++layer) {
      names.push_back(fmt::format("{}, layer {}", variant.name, layer));
      std::vector<double>& row = rows.emplace_back();
      for (size_t point = 0; point < evaluation.points.size(); ++point)
        row.push_back(variant.mean(layer, figure, point));
    }
  }
  return fmt::format("{}: {}\n{}", condition_title(condition), title(figure),
                     table_across(evaluation, names,
                                  [&](size_t row, size_t point) { return value_text(rows[row][point]); }));
}

// "Softmax: from positions 0..63 to 256..1023 the largest weight goes from 0.4100 to 0.1200, ..."
std::string change_text(const Evaluation& evaluation, const AttentionVariant& variant) {
  const size_t last = evaluation.points.size() - 1;
  const auto change = [&](std::string_view name, AttentionFigure figure) {
    return fmt::format("{} from {} to {}", name, value_text(variant.mean(figure, 0)),
                       value_text(variant.mean(figure, last)));
  };
  return fmt::format(
      "  {}: {}, {}, {}.\n", variant.name, change("the largest weight goes", AttentionFigure::kLargest),
      change("the first token's", AttentionFigure::kFirst), change("the entropy", AttentionFigure::kEntropy));
}

std::string attention_condition_text(const Evaluation& evaluation, const EvaluatedCondition& condition) {
  const std::vector<AttentionVariant> variants = group_by_variant(condition);
  std::string text;
  for (const AttentionFigure figure : kAttentionFigures)
    text.append("\n").append(attention_figure_text(evaluation, condition, variants, figure));
  if (evaluation.points.size() == 1) return text;
  text +=
      fmt::format("\n{}: over all layers and heads, from positions {} to {}\n", condition_title(condition),
                  range_text(evaluation.points.front()), range_text(evaluation.points.back()));
  for (const AttentionVariant& variant : variants) text += change_text(evaluation, variant);
  return text;
}

// Non-finite numbers become null.
nlohmann::ordered_json values_json(const std::vector<double>& values) {
  return nlohmann::ordered_json(values);
}

nlohmann::ordered_json layer_json(const AttentionLayer& layer) {
  nlohmann::ordered_json object;
  for (const AttentionFigure figure : kAttentionFigures) {
    std::vector<double> means;
    std::vector<double> errors;
    for (const PointValue& value : layer.mean[static_cast<size_t>(figure)]) {
      means.push_back(value.mean);
      errors.push_back(value.standard_error);
    }
    object[std::string(key(figure))] = values_json(means);
    object[fmt::format("{}_stderr", key(figure))] = values_json(errors);
  }
  object["heads"] = nlohmann::ordered_json::array();
  for (const auto& head : layer.heads) {
    nlohmann::ordered_json one;
    for (const AttentionFigure figure : kAttentionFigures)
      one[std::string(key(figure))] = values_json(head[static_cast<size_t>(figure)]);
    object["heads"].push_back(std::move(one));
  }
  return object;
}

// The fields of a row that identify what was measured and how.
std::string model_csv(const EvaluatedCondition& condition, const EvaluatedModel& model) {
  const auto optional_field = [](const auto& value) {
    return value ? fmt::format("{}", *value) : std::string();
  };
  return fmt::format("{},{},{},{},{},{},{},{},{},{}", csv_field(condition_title(condition)),
                     csv_field(model.variant), model.seed, csv_field(model.checkpoint.string()),
                     optional_field(model.step), model.attention, csv_number(model.rope_theta),
                     optional_field(model.changes.yarn_factor), optional_field(model.changes.row_scale),
                     optional_field(model.changes.attention));
}

// One row per point; value(figure, point).
template <typename Value>
std::string rows_csv(const Evaluation& evaluation, const std::string& model, size_t layer,
                     const std::string& head, const Value& value) {
  std::string text;
  for (size_t point = 0; point < evaluation.points.size(); ++point) {
    text += fmt::format("{},{},{},{},{}", model, layer, head, evaluation.points[point].first,
                        evaluation.points[point].last);
    for (const AttentionFigure figure : kAttentionFigures)
      text.append(",").append(csv_number(value(static_cast<size_t>(figure), point)));
    text += "\n";
  }
  return text;
}

}  // namespace

std::string attention_table(const Evaluation& evaluation) {
  std::string names;
  for (const AttentionVariant& variant : group_by_variant(evaluation.conditions.front())) {
    names += fmt::format("{}{} ({})", names.empty() ? "" : "; ", variant.name, list_seeds(variant.seeds));
  }
  std::string text = fmt::format(
      "Attention by position: {}{}\n"
      "{}.\n"
      "The query at position t attends to the tokens up to its own. Means over the queries of these "
      "positions,\n"
      "over heads, windows and seeds. Spread evenly: what the same weight for all keys would give. "
      "Effective row\n"
      "scale: what the scores q k / sqrt(H) are multiplied by. Trained on windows of {} tokens.\n",
      names, evaluation.dtype == "bfloat16" ? " (in bfloat16)" : "", windows_text(evaluation),
      evaluation.trained_length);
  text += fits_text(evaluation);
  for (const EvaluatedCondition& condition : evaluation.conditions)
    text += attention_condition_text(evaluation, condition);
  return text;
}

std::string attention_csv(const Evaluation& evaluation) {
  std::string text =
      "condition,variant,seed,checkpoint,step,attention,rope_theta,yarn_factor,row_scale,swapped_to,layer,"
      "head,first,last";
  for (const AttentionFigure figure : kAttentionFigures) text.append(",").append(key(figure));
  text += "\n";
  for (const EvaluatedCondition& condition : evaluation.conditions) {
    for (const EvaluatedModel& model : condition.models) {
      const std::string fields = model_csv(condition, model);
      for (size_t i = 0; i < model.attention_values.layers.size(); ++i) {
        const AttentionLayer& layer = model.attention_values.layers[i];
        text += rows_csv(evaluation, fields, i, /*head=*/"",
                         [&](size_t figure, size_t point) { return layer.mean[figure][point].mean; });
        for (size_t head = 0; head < layer.heads.size(); ++head) {
          text += rows_csv(evaluation, fields, i, fmt::format("{}", head),
                           [&](size_t figure, size_t point) { return layer.heads[head][figure][point]; });
        }
      }
    }
  }
  return text;
}

void add_attention(const Evaluation& evaluation, const EvaluatedModel& model,
                   nlohmann::ordered_json& object) {
  const AttentionValues& values = model.attention_values;
  object["bins"] = nlohmann::ordered_json::array();
  for (size_t i = 0; i < evaluation.points.size(); ++i) {
    nlohmann::ordered_json bin = {{"first", evaluation.points[i].first},
                                  {"last", evaluation.points[i].last},
                                  {"tokens", values.mean.front()[i].tokens}};
    for (const AttentionFigure figure : kAttentionFigures) {
      const PointValue& value = values.mean[static_cast<size_t>(figure)][i];
      bin[std::string(key(figure))] = value.mean;
      bin[fmt::format("{}_stderr", key(figure))] = value.standard_error;
    }
    object["bins"].push_back(std::move(bin));
  }
  object["spread_evenly"] = {{"entropy", values_json(values.even_entropy)},
                             {"weight", values_json(values.even_weight)}};
  object["layers"] = nlohmann::ordered_json::array();
  for (const AttentionLayer& layer : values.layers) object["layers"].push_back(layer_json(layer));
}

}  // namespace ssgpt::report
