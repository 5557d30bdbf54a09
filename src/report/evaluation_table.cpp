// An evaluation as text for users.

#include "core/text.h"
#include "report/attention_report.h"
#include "report/evaluation.h"
#include "report/evaluation_cells.h"
#include "report/evaluation_words.h"
#include "report/needle_table.h"
#include "report/outcomes.h"
#include "report/statistics.h"
#include "report/text_table.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <fmt/format.h>
#include <fmt/ranges.h>

namespace ssgpt::report {
namespace {

using Row = std::vector<std::string>;

// All columns right-aligned; a rule under the heading.
std::string aligned(const std::vector<Row>& rows) {
  TextTable table(std::vector<TextTable::Align>(rows.front().size(), TextTable::Align::kRight));
  for (const Row& row : rows) {
    table.add(row);
    if (&row == &rows.front()) table.add_rule();
  }
  return table.text(/*indent=*/2);
}

std::string signed_value(double number, int digits) {
  return std::isfinite(number) ? fmt::format("{:+.{}f}", number, digits) : "-";
}

std::string p_text(double p) {
  return p < 0.0001 ? "<0.0001" : fmt::format("{:.4f}", p);
}

// Whether there are enough seeds for verdicts, whether or not their values are finite.
bool has_seeds(const CurveCandidate& candidate) {
  return candidate.seeds >= kFewestSeeds && candidate.origin.independent;
}

// Number of tests in a table; 0 without any.
int64_t family_of(const std::vector<CurveCandidate>& candidates) {
  for (const CurveCandidate& candidate : candidates) {
    for (const PointDifference& point : candidate.points) {
      if (point.estimate.tested()) return point.estimate.family;
    }
  }
  return 0;
}

// Whether anything scatters: otherwise an interval would have no width.
bool has_interval(const Estimate& estimate) {
  return estimate.tested() && estimate.standard_error > 0.0;
}

bool lacks_values(const CurveCandidate& candidate) {
  return std::any_of(candidate.points.begin(), candidate.points.end(),
                     [](const PointDifference& point) { return point.estimate.missing > 0; });
}

void add_difference_head(const CurveCandidate& candidate, Row& row) {
  row.emplace_back("difference");
  if (has_seeds(candidate)) {
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
  const bool interval = has_interval(estimate);
  if (!has_seeds(candidate)) {
    row.push_back(value_text(point.trials.standard_error));
  } else if (estimate.tested()) {
    row.push_back(interval ? fmt::format("{} .. {}", signed_value(estimate.low(), digits),
                                         signed_value(estimate.high(), digits))
                           : "-");
    row.push_back(p_text(estimate.p));
    row.push_back(p_text(estimate.p_corrected));
    row.push_back(interval ? fmt::format("{:.{}f}", estimate.smallest_detectable, digits) : "-");
  } else {
    row.insert(row.end(), 4, "-");
  }
  row.emplace_back(to_string(estimate.verdict()));
}

// "1 of 3 seeds at 32..63": seeds with non-finite values, point by point. Empty if there are none.
std::string missing_text(const Evaluation& evaluation, const CurveCandidate& candidate) {
  std::vector<std::string> parts;
  for (size_t i = 0; i < candidate.points.size(); ++i) {
    const Estimate& estimate = candidate.points[i].estimate;
    if (estimate.missing == 0) continue;
    const std::string place = point_label(evaluation.kind, evaluation.points[i]);
    parts.push_back(
        candidate.paired
            ? fmt::format("{} of {} at {}", estimate.missing, core::counted(candidate.seeds, "seed"), place)
            : fmt::format("{} at {}", core::counted(estimate.missing, "run"), place));
  }
  return fmt::format("{}", fmt::join(parts, ", "));
}

// "lower at 0..31 and 32..63, no verdict at 3 of 5": if there is any verdict.
std::string verdicts_text(const Evaluation& evaluation, const CurveCandidate& candidate) {
  std::vector<std::string> parts;
  size_t judged = 0;
  for (const Verdict verdict : {Verdict::kLower, Verdict::kHigher}) {
    std::vector<std::string> places;
    for (size_t i = 0; i < candidate.points.size(); ++i) {
      if (candidate.points[i].estimate.verdict() == verdict)
        places.push_back(point_label(evaluation.kind, evaluation.points[i]));
    }
    if (places.empty()) continue;
    judged += places.size();
    parts.push_back(fmt::format("{} at {}", to_string(verdict), fmt::join(places, ", ")));
  }
  const size_t all = candidate.points.size();
  if (judged < all)
    parts.push_back(judged == 0 ? "no verdict at any point"
                                : fmt::format("no verdict at {} of {} points", all - judged, all));
  if (lacks_values(candidate))
    parts.push_back(fmt::format("values not finite: {}", missing_text(evaluation, candidate)));
  return fmt::format("{}", fmt::join(parts, "; "));
}

const VariantCurve& variant_of(const JudgedFigure& figure, const std::string& name) {
  return *std::find_if(figure.variants.begin(), figure.variants.end(),
                       [&](const VariantCurve& variant) { return variant.variant == name; });
}

// One candidate's finding in a sentence.
std::string summary(const Evaluation& evaluation, const JudgedFigure& figure,
                    const CurveCandidate& candidate) {
  std::vector<uint64_t> seeds;
  for (const SeedValue& one : candidate.points.front().seeds) seeds.push_back(one.seed);
  std::string sides = candidate.paired ? fmt::format("{}, paired", core::counted(candidate.seeds, "seed"))
                                       : fmt::format("{} and {} runs, unpaired",
                                                     variant_of(figure, candidate.variant).seeds.size(),
                                                     variant_of(figure, figure.baseline).seeds.size());
  // If the baseline's mean is over more seeds, the difference is not that of the columns.
  if (candidate.paired && seeds.size() < variant_of(figure, figure.baseline).seeds.size())
    sides += fmt::format(": those that both have, {}", fmt::join(seeds, ", "));
  const std::string& origin = candidate.origin.note;
  return fmt::format("{} minus {}, {}: {} ({}).{}{}", candidate.variant, figure.baseline,
                     figure_name(figure.figure), verdicts_text(evaluation, candidate), sides,
                     origin.empty() ? "" : "\n  ", origin);
}

// Explains the columns, under the tables of a figure.
std::string footnotes(const Evaluation& evaluation, const JudgedFigure& figure) {
  std::string text;
  const auto& candidates = figure.candidates;
  const bool several = candidates.size() > 1;
  if (const int64_t family = family_of(candidates); family > 0) {
    text += several
                ? fmt::format(
                      "  ± is half of the 95 % interval; *: a verdict, by p corrected after Holm for all {} "
                      "tested differences of this table.\n",
                      family)
                : fmt::format(
                      "  p, Holm: corrected for all {} tested differences of this table; the verdict "
                      "follows it.\n",
                      family);
  }
  if (std::any_of(candidates.begin(), candidates.end(), lacks_values)) {
    text += fmt::format(
        "  {}A value that is not finite cancels the verdict of its point; the difference is over the other\n"
        "  seeds.\n",
        several ? "!: not finite. " : "");
  }
  if (!std::all_of(candidates.begin(), candidates.end(), has_seeds)) {
    text += fmt::format(
        "  A verdict needs {} seeds or more on each side. {}: one standard error, how far other {}\n"
        "  would move the difference of these very models; other seeds move it further.\n",
        kFewestSeeds, several ? "± with a t" : "Error of the trials",
        has_bins(evaluation.kind) ? "windows" : "trials");
  }
  return text;
}

// The error of a single model's value: for a share, the number of right trials.
void add_error_head(Figure figure, Row& row) {
  if (figure == Figure::kShareRight) {
    row.insert(row.end(), {"right", "95 % interval"});
  } else {
    row.emplace_back("std. error");
  }
}

void add_error_cells(Figure figure, const PointValue& measured, Row& row) {
  if (figure != Figure::kShareRight) {
    row.push_back(value_text(measured.standard_error));
    return;
  }
  const auto trials = static_cast<int64_t>(measured.trials.size());
  const std::optional<int64_t> right = num_right(measured);
  row.push_back(right ? fmt::format("{} of {}", *right, trials) : "-");
  const ShareInterval interval = wilson_interval(right.value_or(0), trials);
  row.push_back(right ? fmt::format("{:.3f} .. {:.3f}", interval.low, interval.high) : "-");
}

// Means of the variants, followed by the difference if there is only one candidate.
std::string means_table(const Evaluation& evaluation, const EvaluatedCondition& condition,
                        const JudgedFigure& figure) {
  const bool joined = figure.candidates.size() == 1;
  const bool lone = condition.models.size() == 1;
  std::vector<Row> rows = {point_head(evaluation.kind)};
  for (const VariantCurve& variant : figure.variants) rows[0].push_back(variant.variant);
  if (lone) add_error_head(figure.figure, rows[0]);
  if (joined) add_difference_head(figure.candidates[0], rows[0]);
  for (size_t i = 0; i < evaluation.points.size(); ++i) {
    Row& row = rows.emplace_back(point_cells(evaluation, evaluation.points[i]));
    for (const VariantCurve& variant : figure.variants) row.push_back(value_text(variant.means[i]));
    if (lone) add_error_cells(figure.figure, values_of(condition.models.front(), figure.figure)[i], row);
    if (joined) add_difference_cells(figure.candidates[0], figure.candidates[0].points[i], row);
  }
  return aligned(rows);
}

// "+0.371 ±0.060 *": a star marks a verdict, a "t" an error that is that of the trials, a "!" values that are
// not finite.
std::string difference_cell(const CurveCandidate& candidate, const PointDifference& point) {
  const Estimate& estimate = point.estimate;
  const int digits = decimals(estimate);
  const std::string mean = signed_value(estimate.mean, digits);
  if (estimate.missing > 0) return fmt::format("{} !", mean);
  if (!has_seeds(candidate)) {
    const double error = point.trials.standard_error;
    return std::isfinite(error) ? fmt::format("{} ±{} t", mean, value_text(error)) : mean;
  }
  const std::string error =
      has_interval(estimate) ? fmt::format(" ±{:.{}f}", estimate.half_width, digits) : "";
  return fmt::format("{}{} {}", mean, error, estimate.verdict() == Verdict::kNone ? ' ' : '*');
}

// Means, and below them the differences of all candidates, if there are several.
std::string tables_across(const Evaluation& evaluation, const JudgedFigure& figure) {
  std::vector<std::string> names;
  for (const VariantCurve& variant : figure.variants) names.push_back(variant.variant);
  std::string text = table_across(evaluation, names, [&](size_t row, size_t point) {
    return value_text(figure.variants[row].means[point]);
  });
  names.clear();
  for (const CurveCandidate& candidate : figure.candidates) names.push_back(candidate.variant);
  text += fmt::format("\n  Minus {}:\n", figure.baseline);
  text += table_across(evaluation, names, [&](size_t row, size_t point) {
    return difference_cell(figure.candidates[row], figure.candidates[row].points[point]);
  });
  return text;
}

// The seeds that the means are over, and those left out of them.
std::string seeds_line(const JudgedFigure& figure) {
  const VariantCurve& first = figure.variants.front();
  const bool equal = std::all_of(
      figure.variants.begin(), figure.variants.end(),
      [&](const VariantCurve& variant) { return variant.seeds == first.seeds && variant.left_out.empty(); });
  if (equal) return list_seeds(first.seeds);
  std::vector<std::string> parts;
  for (const VariantCurve& variant : figure.variants) {
    std::string& part = parts.emplace_back(fmt::format("{}: {}", variant.variant, list_seeds(variant.seeds)));
    if (!variant.left_out.empty())
      part += fmt::format(", without {}, which the other side lacks", fmt::join(variant.left_out, ", "));
  }
  return fmt::format("means over seeds as follows\n  {}", fmt::join(parts, "\n  "));
}

std::string figure_text(const Evaluation& evaluation, const EvaluatedCondition& condition,
                        const JudgedFigure& figure) {
  const bool several = figure.candidates.size() > 1;
  const char* over = evaluation.kind == EvaluationKind::kAttention ? " (over all layers and heads)" : "";
  std::string text = fmt::format(
      "{}: {}{}; {}\n{}", condition_title(condition), figure_words(figure.figure), over, seeds_line(figure),
      several ? tables_across(evaluation, figure) : means_table(evaluation, condition, figure));
  for (const CurveCandidate& candidate : figure.candidates) {
    text += fmt::format("  {}\n", summary(evaluation, figure, candidate));
  }
  return text + footnotes(evaluation, figure);
}

}  // namespace

std::string to_table(const Evaluation& evaluation) {
  const bool attention = evaluation.kind == EvaluationKind::kAttention;
  std::string text = attention ? attention_table(evaluation) : heading(evaluation) + fits_text(evaluation);
  for (const EvaluatedCondition& condition : evaluation.conditions) {
    for (const JudgedFigure& figure : condition.figures) {
      // The table of attention already contains the means.
      if (attention && figure.candidates.empty()) continue;
      text.append("\n").append(figure_text(evaluation, condition, figure));
    }
    if (evaluation.kind == EvaluationKind::kNeedle) text += needle_attention_text(evaluation, condition);
  }
  return text + notes_text(evaluation);
}

}  // namespace ssgpt::report
