#include "core/json.h"
#include "core/version.h"
#include "report/attention_report.h"
#include "report/changes_json.h"
#include "report/estimate_json.h"
#include "report/evaluation.h"
#include "report/evaluation_words.h"
#include "report/statistics.h"

#include <nlohmann/json.hpp>

namespace ssgpt::report {
namespace {

using Json = nlohmann::ordered_json;

constexpr int kVersion = 1;

template <typename T>
Json optional(const std::optional<T>& value) {
  return value ? Json(*value) : Json(nullptr);
}

Json bins_json(const Evaluation& evaluation, const EvaluatedModel& model) {
  Json bins = Json::array();
  for (size_t i = 0; i < evaluation.points.size(); ++i) {
    bins.push_back({{"first", evaluation.points[i].first},
                    {"last", evaluation.points[i].last},
                    {"loss", model.loss[i].mean},
                    {"stderr", model.loss[i].standard_error},
                    {"tokens", model.loss[i].tokens}});
  }
  return bins;
}

Json results_json(const Evaluation& evaluation, const EvaluatedModel& model) {
  Json results = Json::array();
  for (size_t i = 0; i < evaluation.points.size(); ++i) {
    results.push_back({{"length", evaluation.points[i].last},
                       {"accuracy", model.accuracy[i].mean},
                       {"accuracy_stderr", model.accuracy[i].standard_error},
                       {"loss", model.loss[i].mean},
                       {"stderr", model.loss[i].standard_error},
                       {"tokens", model.loss[i].tokens}});
  }
  return results;
}

Json attention_json(const NeedleAttention& attention) {
  Json heads = Json::array();
  for (const NeedleHead& one : attention.heads)
    heads.push_back({{"layer", one.layer}, {"head", one.head}, {"mean", one.mean}});
  Json trials = Json::array();
  for (const NeedleTop& one : attention.trials)
    trials.push_back({{"layer", one.layer},
                      {"head", one.head},
                      {"weight", one.weight},
                      {"outcome", one.outcome ? Json(to_string(*one.outcome)) : Json(nullptr)}});
  return {{"heads", heads}, {"trials", trials}};
}

Json needles_json(const Evaluation& evaluation, const EvaluatedModel& model) {
  Json results = Json::array();
  for (size_t i = 0; i < evaluation.points.size(); ++i) {
    const PointValue& share = model.share_right[i];
    const auto trials = static_cast<int64_t>(share.trials.size());
    const std::optional<int64_t> correct = num_right(share);
    std::optional<ShareInterval> interval;
    if (correct) interval = wilson_interval(*correct, trials);
    results.push_back({{"length", evaluation.points[i].last},
                       {"depth", optional(evaluation.points[i].depth)},
                       {"trials", trials},
                       {"correct", optional(correct)},
                       {"share_right", share.mean},
                       {"share_right_low", interval ? Json(interval->low) : Json(nullptr)},
                       {"share_right_high", interval ? Json(interval->high) : Json(nullptr)},
                       {"first_digit_right", model.first_digit_right[i]},
                       {"margin", model.margin[i].mean},
                       {"margin_stderr", model.margin[i].standard_error}});
    if (!model.needle_attention.empty())
      results.back()["attention"] = attention_json(model.needle_attention[i]);
  }
  return results;
}

// "bins" or "results", all of them documented for scripts; for attention see add_attention().
void add_values(const Evaluation& evaluation, const EvaluatedModel& model, Json& object) {
  switch (evaluation.kind) {
    case EvaluationKind::kPosition:
      object["bins"] = bins_json(evaluation, model);
      return;
    case EvaluationKind::kRetrieval:
      object["results"] = results_json(evaluation, model);
      return;
    case EvaluationKind::kNeedle:
      object["results"] = needles_json(evaluation, model);
      return;
    case EvaluationKind::kAttention:
      add_attention(evaluation, model, object);
      return;
  }
}

Json model_json(const Evaluation& evaluation, size_t condition, const EvaluatedModel& model) {
  Json object = {{"condition", condition},
                 {"variant", model.variant},
                 {"seed", model.seed},
                 {"checkpoint", model.checkpoint.string()},
                 {"attention", model.attention},
                 {"step", optional(model.step)},
                 {"trained_length", model.trained_length},
                 {"rope_theta", model.rope_theta}};
  object["overrides"] = changes_json(model.changes);
  object["pn_fit"] = fit_json(model.fitted);
  add_values(evaluation, model, object);
  return object;
}

Json condition_json(const EvaluatedCondition& condition) {
  Json object = {{"title", condition_title(condition)}, {"rope_theta", optional(condition.rope_theta)}};
  object["figures"] = Json::array();
  for (const JudgedFigure& figure : condition.figures) {
    Json variants = Json::array();
    for (const VariantCurve& variant : figure.variants)
      variants.push_back({{"variant", variant.variant},
                          {"seeds", variant.seeds},
                          {"left_out", variant.left_out},
                          {"means", variant.means}});
    object["figures"].push_back(
        {{"figure", key(figure.figure)}, {"unit", unit(figure.figure)}, {"variants", variants}});
  }
  return object;
}

Json point_json(const Point& point, const PointDifference& difference, bool paired) {
  Json object = {{"first", point.first}, {"last", point.last}};
  if (point.depth) object["depth"] = *point.depth;
  object.update(estimate_fields(difference.estimate, paired));
  if (difference.estimate.standard_error == 0.0) {  // nothing scatters: an interval would have no width
    for (const char* name : {"low", "high", "smallest_detectable"}) object[name] = nullptr;
  }
  object["tests_corrected_for"] = difference.estimate.family;
  object["trials"] = {{"mean_difference", difference.trials.mean},
                      {"standard_error", difference.trials.standard_error},
                      {"trials", difference.trials.trials}};
  object["seeds"] = Json::array();
  for (const SeedValue& one : difference.seeds)
    object["seeds"].push_back({{"seed", one.seed}, {"difference", one.value}});
  return object;
}

Json comparison_json(const Evaluation& evaluation, size_t condition, const JudgedFigure& figure,
                     const CurveCandidate& candidate) {
  Json object = {{"condition", condition},
                 {"figure", key(figure.figure)},
                 {"candidate", candidate.variant},
                 {"baseline", figure.baseline},
                 {"paired", candidate.paired},
                 {"independent", candidate.origin.independent},
                 {"origin", candidate.origin.note.empty() ? Json(nullptr) : Json(candidate.origin.note)}};
  object["points"] = Json::array();
  for (size_t i = 0; i < evaluation.points.size(); ++i)
    object["points"].push_back(point_json(evaluation.points[i], candidate.points[i], candidate.paired));
  return object;
}

void add_source(const Evaluation& evaluation, Json& object) {
  if (has_bins(evaluation.kind)) {
    object["data"] = evaluation.data;
    object["windows"] = evaluation.trials;
    object["overlap"] = 0;
    object["documents"] = evaluation.documents;
  } else if (evaluation.kind == EvaluationKind::kNeedle) {
    object["data"] = evaluation.data;
    object["prompt"] = evaluation.prompt;
    object["distractors"] = evaluation.distractors;
    object["answer_tokens"] = evaluation.answer_tokens;
    object["seed"] = evaluation.seed;
    object["trials"] = evaluation.trials;
  } else {
    object["task"] = evaluation.task;
    object["seed"] = evaluation.seed;
    object["trials"] = evaluation.trials;
  }
}

}  // namespace

std::string to_json(const Evaluation& evaluation) {
  Json object = {{"format", "ssgpt-evaluation"},
                 {"version", kVersion},
                 {"kind", to_string(evaluation.kind)},
                 {"baseline", evaluation.conditions.front().baseline},
                 {"trained_length", evaluation.trained_length},
                 {"max_length", evaluation.points.back().last + (has_bins(evaluation.kind) ? 1 : 0)}};
  add_source(evaluation, object);
  object["dtype"] = evaluation.dtype;
  object["device"] = evaluation.device;
  object["program_version"] = core::version();
  object["revision"] = core::git_revision();
  if (evaluation.single) add_values(evaluation, evaluation.conditions.front().models.back(), object);
  object["conditions"] = Json::array();
  object["models"] = Json::array();
  object["comparisons"] = Json::array();
  for (size_t i = 0; i < evaluation.conditions.size(); ++i) {
    const EvaluatedCondition& condition = evaluation.conditions[i];
    object["conditions"].push_back(condition_json(condition));
    for (const EvaluatedModel& model : condition.models)
      object["models"].push_back(model_json(evaluation, i, model));
    for (const JudgedFigure& figure : condition.figures) {
      for (const CurveCandidate& candidate : figure.candidates)
        object["comparisons"].push_back(comparison_json(evaluation, i, figure, candidate));
    }
  }
  object["notes"] = Json::array();
  for (const Note& note : evaluation.notes)
    object["notes"].push_back({{"warning", note.warning}, {"text", note.text}});
  // A path that is not UTF-8 must not break the report.
  return core::json_text(object, 2) + "\n";
}

}  // namespace ssgpt::report
