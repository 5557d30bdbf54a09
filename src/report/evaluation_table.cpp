// An evaluation as text for people.

#include "report/evaluation.h"
#include "report/outcomes.h"
#include "report/text_table.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>
#include <vector>

#include <fmt/format.h>
#include <fmt/ranges.h>

namespace ssgpt::report {
namespace {

using Row = std::vector<std::string>;

constexpr int kDecimals = 4;

// All columns to the right; a line under the heading.
std::string aligned(const std::vector<Row>& rows) {
  TextTable table(std::vector<TextTable::Align>(rows.front().size(), TextTable::Align::kRight));
  for (const Row& row : rows) {
    table.add(row);
    if (&row == &rows.front()) table.add_rule();
  }
  return table.text(/*indent=*/2);
}

std::string value(double number) {
  return std::isfinite(number) ? fmt::format("{:.{}f}", number, kDecimals) : "-";
}

std::string signed_value(double number, int digits) {
  return std::isfinite(number) ? fmt::format("{:+.{}f}", number, digits) : "-";
}

std::string p_text(double p) {
  return p < 0.0001 ? "<0.0001" : fmt::format("{:.4f}", p);
}

std::string range(const Point& point) {
  return fmt::format("{}..{}", point.first, point.last);
}

std::string label(const Evaluation& evaluation, const Point& point) {
  return evaluation.kind == EvaluationKind::kPosition ? range(point) : fmt::format("{}", point.last);
}

bool is_tested(const CurveCandidate& candidate) {
  return std::any_of(candidate.points.begin(), candidate.points.end(),
                     [](const PointDifference& point) { return point.estimate.tested(); });
}

// The tests of its table; one of its points is tested.
int64_t family_of(const CurveCandidate& candidate) {
  return std::find_if(candidate.points.begin(), candidate.points.end(),
                      [](const PointDifference& point) { return point.estimate.tested(); })
      ->estimate.family;
}

// "3 seeds (1, 2, 3)"
std::string seeds_text(const std::vector<uint64_t>& seeds) {
  return seeds.size() == 1 ? fmt::format("seed {}", seeds.front())
                           : fmt::format("{} seeds ({})", seeds.size(), fmt::join(seeds, ", "));
}

// What a row stands for, in the first cells of it.
Row point_head(const Evaluation& evaluation) {
  return evaluation.kind == EvaluationKind::kPosition ? Row{"positions", "context", "x trained"}
                                                      : Row{"context", "x trained"};
}

Row point_cells(const Evaluation& evaluation, const Point& point) {
  const bool position = evaluation.kind == EvaluationKind::kPosition;
  const int64_t longest = point.last + (position ? 1 : 0);
  const std::string times =
      fmt::format("{:.3g}", static_cast<double>(longest) / static_cast<double>(evaluation.trained_length));
  if (!position) return {fmt::format("{}", longest), times};
  return {range(point), fmt::format("{}..{}", point.first + 1, longest), times};
}

void add_difference_head(const CurveCandidate& candidate, Row& row) {
  row.emplace_back("difference");
  if (is_tested(candidate)) {
    for (const char* name : {"95 % interval", "p", "p, Holm", "detectable"}) row.emplace_back(name);
  } else {
    row.emplace_back("error of the trials");
  }
  row.emplace_back("verdict");
}

void add_difference_cells(const CurveCandidate& candidate, const PointDifference& point, Row& row) {
  const Estimate& estimate = point.estimate;
  const int digits = decimals(estimate);
  row.push_back(signed_value(estimate.mean, digits));
  if (!is_tested(candidate)) {
    row.push_back(value(point.trials.standard_error));
  } else if (estimate.tested()) {
    row.push_back(
        fmt::format("{} .. {}", signed_value(estimate.low(), digits), signed_value(estimate.high(), digits)));
    row.push_back(p_text(estimate.p));
    row.push_back(p_text(estimate.p_corrected));
    row.push_back(fmt::format("{:.{}f}", estimate.smallest_detectable, digits));
  } else {
    row.insert(row.end(), 4, "-");
  }
  row.emplace_back(to_string(estimate.verdict()));
}

// "lower at 0..31 and 32..63, no verdict at 3 of 5": where there is any.
std::string verdicts_text(const Evaluation& evaluation, const CurveCandidate& candidate) {
  std::vector<std::string> parts;
  size_t judged = 0;
  for (const Verdict verdict : {Verdict::kLower, Verdict::kHigher}) {
    std::vector<std::string> places;
    for (size_t i = 0; i < candidate.points.size(); ++i) {
      if (candidate.points[i].estimate.verdict() == verdict)
        places.push_back(label(evaluation, evaluation.points[i]));
    }
    if (places.empty()) continue;
    judged += places.size();
    parts.push_back(fmt::format("{} at {}", to_string(verdict), fmt::join(places, ", ")));
  }
  const size_t all = candidate.points.size();
  if (judged < all)
    parts.push_back(judged == 0 ? "no verdict at any point"
                                : fmt::format("no verdict at {} of {} points", all - judged, all));
  return fmt::format("{}", fmt::join(parts, "; "));
}

const VariantCurve& variant_of(const JudgedFigure& figure, const std::string& name) {
  return *std::find_if(figure.variants.begin(), figure.variants.end(),
                       [&](const VariantCurve& variant) { return variant.variant == name; });
}

// The finding of one candidate in a sentence.
std::string summary(const Evaluation& evaluation, const JudgedFigure& figure,
                    const CurveCandidate& candidate) {
  const Estimate& first = candidate.points.front().estimate;
  std::vector<uint64_t> seeds;
  for (const SeedValue& one : candidate.points.front().seeds) seeds.push_back(one.seed);
  std::string sides =
      candidate.paired ? fmt::format("{} {}, paired", first.seeds + first.missing,
                                     first.seeds + first.missing == 1 ? "seed" : "seeds")
                       : fmt::format("{} and {} runs, unpaired", first.candidate_runs, first.baseline_runs);
  // Where the baseline's mean is over more seeds, the difference is not that of the columns.
  if (candidate.paired && seeds.size() < variant_of(figure, figure.baseline).seeds.size())
    sides += fmt::format(": those that both have, {}", fmt::join(seeds, ", "));
  return fmt::format("{} minus {}, {}: {} ({}).", candidate.variant, figure.baseline, key(figure.figure),
                     verdicts_text(evaluation, candidate), sides);
}

// What the columns mean, under the tables of a figure.
std::string footnotes(const Evaluation& evaluation, const JudgedFigure& figure) {
  std::string text;
  const auto& candidates = figure.candidates;
  const bool several = candidates.size() > 1;
  const auto tested = std::find_if(candidates.begin(), candidates.end(), is_tested);
  if (tested != candidates.end()) {
    const int64_t family = family_of(*tested);
    text += several ? fmt::format(
                          "  ± is half of the 95 % interval; *: a verdict, by p corrected after Holm "
                          "for all {} tested differences of this table.\n",
                          family)
                    : fmt::format(
                          "  p, Holm: corrected for all {} tested differences of this table; the "
                          "verdict follows it.\n",
                          family);
  }
  if (!std::all_of(candidates.begin(), candidates.end(), is_tested)) {
    text += fmt::format(
        "  A verdict needs {} seeds or more on each side. {}: one standard error, how far other {}\n"
        "  would move the difference of these very models; other seeds move it further.\n",
        kFewestSeeds, several ? "± with a t" : "Error of the trials",
        evaluation.kind == EvaluationKind::kPosition ? "windows" : "trials");
  }
  return text;
}

// Means of the variants; behind them, where there is one candidate, its difference.
std::string means_table(const Evaluation& evaluation, const EvaluatedCondition& condition,
                        const JudgedFigure& figure) {
  const bool joined = figure.candidates.size() == 1;
  const bool lone = condition.models.size() == 1;
  std::vector<Row> rows = {point_head(evaluation)};
  for (const VariantCurve& variant : figure.variants) rows[0].push_back(variant.variant);
  if (lone) rows[0].emplace_back("std. error");
  if (joined) add_difference_head(figure.candidates[0], rows[0]);
  for (size_t i = 0; i < evaluation.points.size(); ++i) {
    Row& row = rows.emplace_back(point_cells(evaluation, evaluation.points[i]));
    for (const VariantCurve& variant : figure.variants) row.push_back(value(variant.means[i]));
    const EvaluatedModel& model = condition.models.front();
    const PointValue& measured = figure.figure == Figure::kLoss ? model.loss[i] : model.accuracy[i];
    if (lone) row.push_back(value(measured.standard_error));
    if (joined) add_difference_cells(figure.candidates[0], figure.candidates[0].points[i], row);
  }
  return aligned(rows);
}

// Points of a table that stand side by side where its rows are variants; more of them make further tables.
constexpr size_t kPointsAcross = 8;

// A row for each name, a column for each point; cell(row, point).
template <typename Cell>
std::string table_across(const Evaluation& evaluation, const std::vector<std::string>& names,
                         const Cell& cell) {
  std::string text;
  const Row head = point_head(evaluation);
  for (size_t first = 0; first < evaluation.points.size(); first += kPointsAcross) {
    const size_t end = std::min(evaluation.points.size(), first + kPointsAcross);
    std::vector<TextTable::Align> columns(1 + end - first, TextTable::Align::kRight);
    columns[0] = TextTable::Align::kLeft;
    TextTable table(std::move(columns));
    for (size_t line = 0; line < head.size(); ++line) {
      Row row = {head[line]};
      for (size_t i = first; i < end; ++i) row.push_back(point_cells(evaluation, evaluation.points[i])[line]);
      table.add(std::move(row));
    }
    table.add_rule();
    for (size_t name = 0; name < names.size(); ++name) {
      Row row = {names[name]};
      for (size_t i = first; i < end; ++i) row.push_back(cell(name, i));
      table.add(std::move(row));
    }
    text += table.text(/*indent=*/2);
  }
  return text;
}

// "+0.371 ±0.060 *": the star is a verdict, a "t" says that the error is that of the trials.
std::string difference_cell(const PointDifference& point) {
  const Estimate& estimate = point.estimate;
  const int digits = decimals(estimate);
  const std::string mean = signed_value(estimate.mean, digits);
  if (!estimate.tested()) return fmt::format("{} ±{} t", mean, value(point.trials.standard_error));
  return fmt::format("{} ±{:.{}f} {}", mean, estimate.half_width, digits,
                     estimate.verdict() == Verdict::kNone ? ' ' : '*');
}

// Means, and below them the differences of all candidates, where there are several.
std::string tables_across(const Evaluation& evaluation, const JudgedFigure& figure) {
  std::vector<std::string> names;
  for (const VariantCurve& variant : figure.variants) names.push_back(variant.variant);
  std::string text = table_across(
      evaluation, names, [&](size_t row, size_t point) { return value(figure.variants[row].means[point]); });
  names.clear();
  for (const CurveCandidate& candidate : figure.candidates) names.push_back(candidate.variant);
  text += fmt::format("\n  Minus {}:\n", figure.baseline);
  text += table_across(evaluation, names, [&](size_t row, size_t point) {
    return difference_cell(figure.candidates[row].points[point]);
  });
  return text;
}

// Over which seeds the means are, and which are left out of them.
std::string seeds_line(const JudgedFigure& figure) {
  const VariantCurve& first = figure.variants.front();
  const bool equal = std::all_of(
      figure.variants.begin(), figure.variants.end(),
      [&](const VariantCurve& variant) { return variant.seeds == first.seeds && variant.left_out.empty(); });
  if (equal) return seeds_text(first.seeds);
  std::vector<std::string> parts;
  for (const VariantCurve& variant : figure.variants) {
    std::string& part = parts.emplace_back(fmt::format("{}: {}", variant.variant, seeds_text(variant.seeds)));
    if (!variant.left_out.empty())
      part += fmt::format(", without {}, which the other side lacks", fmt::join(variant.left_out, ", "));
  }
  return fmt::format("means over seeds as follows\n  {}", fmt::join(parts, "\n  "));
}

std::string figure_text(const Evaluation& evaluation, const EvaluatedCondition& condition,
                        const JudgedFigure& figure) {
  const bool accuracy = figure.figure == Figure::kAccuracy;
  const bool several = figure.candidates.size() > 1;
  std::string text =
      fmt::format("{}: {}, {}; {}\n{}", condition_title(condition), accuracy ? "accuracy" : "loss",
                  accuracy ? "share of the answer's tokens" : "nats a token", seeds_line(figure),
                  several ? tables_across(evaluation, figure) : means_table(evaluation, condition, figure));
  for (const CurveCandidate& candidate : figure.candidates) {
    text += fmt::format("  {}\n", summary(evaluation, figure, candidate));
  }
  return text + footnotes(evaluation, figure);
}

std::string heading(const Evaluation& evaluation) {
  std::vector<std::string> variants;
  for (const VariantCurve& variant : evaluation.conditions[0].figures[0].variants)
    variants.push_back(variant.variant);
  const std::string names =
      fmt::format("{}{}", fmt::join(variants, "; "), evaluation.dtype == "bfloat16" ? " (in bfloat16)" : "");
  if (evaluation.kind == EvaluationKind::kRetrieval) {
    return fmt::format(
        "Retrieval, task {} ({}): {}\n"
        "{} trials of each length (seed {}), the same for every model; none overlaps another (overlap 0).\n"
        "The context of a row is its length. Trained on windows of {} tokens.\n",
        evaluation.task, evaluation.task_description, names, evaluation.trials, evaluation.seed,
        evaluation.trained_length);
  }
  return fmt::format(
      "Loss by position: {}\n"
      "{} windows of {} tokens{}, which do not overlap (overlap 0), of {}.\n"
      "The token at position t is predicted from the t + 1 tokens before it, its context. Trained on windows "
      "of "
      "{} tokens.\n",
      names, evaluation.trials, evaluation.points.back().last + 1,
      evaluation.documents ? ", each the beginning of a document" : "", fmt::join(evaluation.data, ", "),
      evaluation.trained_length);
}

// The lines that a learned p_n was continued by.
std::string fits_text(const Evaluation& evaluation) {
  std::string text;
  const ModelChanges& common = evaluation.conditions[0].models[0].changes;
  if (common.yarn_factor)
    text += fmt::format("Changed in every model: YaRN, factor {}.\n", *common.yarn_factor);
  for (const EvaluatedModel& model : evaluation.conditions[0].models) {
    if (const auto& fit = model.fitted) {
      text += fmt::format(
          "{}, seed {}: p_n beyond its {} entries is {:.4g} log n {:+.4g} (fitted to them; residuals: root "
          "mean square "
          "{:.2g}, at most {:.2g}).\n",
          model.variant, model.seed, fit->entries, fit->a1, fit->a2, fit->rms_residual, fit->max_residual);
    }
  }
  return text;
}

}  // namespace

std::string to_table(const Evaluation& evaluation) {
  std::string text = heading(evaluation) + fits_text(evaluation);
  for (const EvaluatedCondition& condition : evaluation.conditions) {
    for (const JudgedFigure& figure : condition.figures)
      text.append("\n").append(figure_text(evaluation, condition, figure));
  }
  if (!evaluation.notes.empty()) text += "\nNotes\n";
  for (const Note& note : evaluation.notes)
    text += fmt::format("  {} {}\n", note.warning ? "!" : "-", note.text);
  return text;
}

}  // namespace ssgpt::report
