#include "report/evaluation_words.h"

#include "core/check.h"
#include "core/text.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

namespace ssgpt::report {
namespace {

std::string of_position(const Evaluation& evaluation, const std::string& names) {
  return fmt::format(
      "Loss by position: {}\n"
      "{}.\n"
      "The token at position t is predicted from the t + 1 tokens before it, its context. Trained on windows "
      "of {} tokens.\n",
      names, windows_text(evaluation), evaluation.trained_length);
}

std::string of_retrieval(const Evaluation& evaluation, const std::string& names) {
  return fmt::format(
      "Retrieval, task {} ({}): {}\n"
      "{} of each length (seed {}), the same for every model; each trial is a sequence of its own.\n"
      "The context of a row is its length. Trained on windows of {} tokens.\n",
      evaluation.task, evaluation.task_description, names, core::counted(evaluation.trials, "trial"),
      evaluation.seed, evaluation.trained_length);
}

std::string of_needle(const Evaluation& evaluation, const std::string& names) {
  return fmt::format(
      "Needle in a haystack: {}\n"
      "{} of each length at each depth (seed {}), the same for every model, in text of {}.\n"
      "Right: the greedy answer is the number. Margin: log-probability of the number minus that of the most "
      "likely of {}.\n"
      "A depth of 0 is the front, 100 right before the question. Trained on windows of {} tokens.\n",
      names, core::counted(evaluation.trials, "trial"), evaluation.seed, fmt::join(evaluation.data, ", "),
      core::counted(evaluation.distractors, "wrong one"), evaluation.trained_length);
}

}  // namespace

bool has_bins(EvaluationKind kind) {
  return kind == EvaluationKind::kPosition || kind == EvaluationKind::kAttention;
}

std::string range_text(const Point& point) {
  return fmt::format("{}..{}", point.first, point.last);
}

std::string_view figure_name(Figure figure) {
  switch (figure) {
    case Figure::kShareRight:
      return "share right";
    case Figure::kEntropy:
      return "entropy of attention";
    case Figure::kLargestWeight:
      return "largest attention weight";
    case Figure::kFirstTokenWeight:
      return "attention to the first token";
    default:
      return key(figure);
  }
}

std::string figure_words(Figure figure) {
  return fmt::format("{}, {}", figure_name(figure),
                     figure == Figure::kLoss ? "nats per token" : unit(figure));
}

std::string point_label(EvaluationKind kind, const Point& point) {
  if (has_bins(kind)) return range_text(point);
  return point.depth ? fmt::format("{} at {} %", point.last, *point.depth) : fmt::format("{}", point.last);
}

std::vector<std::string> point_head(EvaluationKind kind) {
  switch (kind) {
    case EvaluationKind::kPosition:
    case EvaluationKind::kAttention:
      return {"positions", "context", "x trained"};
    case EvaluationKind::kRetrieval:
      return {"context", "x trained"};
    case EvaluationKind::kNeedle:
      return {"length", "x trained", "depth, %"};
  }
  return {};
}

std::vector<std::string> point_cells(const Evaluation& evaluation, const Point& point) {
  const bool position = has_bins(evaluation.kind);
  const int64_t longest = point.last + (position ? 1 : 0);
  const std::string times =
      fmt::format("{:.3g}", static_cast<double>(longest) / static_cast<double>(evaluation.trained_length));
  if (position) return {range_text(point), fmt::format("{}..{}", point.first + 1, longest), times};
  if (!point.depth) return {fmt::format("{}", longest), times};
  return {fmt::format("{}", longest), times, fmt::format("{}", *point.depth)};
}

std::string windows_text(const Evaluation& evaluation) {
  return fmt::format(
      "{} of {} tokens{}{}, of {}", core::counted(evaluation.trials, "window"),
      evaluation.points.back().last + 1, evaluation.documents ? ", each the beginning of a document" : "",
      evaluation.trials == 1 ? "" : ", which do not overlap (overlap 0)", fmt::join(evaluation.data, ", "));
}

std::string heading(const Evaluation& evaluation) {
  SSGPT_CHECK(evaluation.kind != EvaluationKind::kAttention, "attention has a heading of its own");
  std::vector<std::string> variants;
  for (const VariantCurve& variant : evaluation.conditions[0].figures[0].variants)
    variants.push_back(variant.variant);
  const std::string names =
      fmt::format("{}{}", fmt::join(variants, "; "), evaluation.dtype == "bfloat16" ? " (in bfloat16)" : "");
  switch (evaluation.kind) {
    case EvaluationKind::kPosition:
      return of_position(evaluation, names);
    case EvaluationKind::kRetrieval:
      return of_retrieval(evaluation, names);
    case EvaluationKind::kNeedle:
      return of_needle(evaluation, names);
    case EvaluationKind::kAttention:
      break;
  }
  return names;
}

}  // namespace ssgpt::report
