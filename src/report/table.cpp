#include "core/text.h"
#include "report/outcomes.h"
#include "report/output.h"
#include "report/text_table.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>
#include <vector>

#include <fmt/format.h>

namespace ssgpt::report {
namespace {

using Row = std::vector<std::string>;

// The first column left-aligned, the others right-aligned; a rule under the heading.
std::string aligned(const std::vector<Row>& rows) {
  std::vector<TextTable::Align> columns(rows.front().size(), TextTable::Align::kRight);
  columns.front() = TextTable::Align::kLeft;
  TextTable table(std::move(columns));
  for (const Row& row : rows) {
    table.add(row);
    if (&row == &rows.front()) table.add_rule();
  }
  return table.text(/*indent=*/2);
}

std::string loss(double value) {
  return std::isfinite(value) ? fmt::format("{:.4f}", value) : "-";
}
std::string difference(double value, int decimals = 4) {
  return std::isfinite(value) ? fmt::format("{:+.{}f}", value, decimals) : "-";
}
std::string steps(int64_t first, int64_t last) {
  return fmt::format("{}..{}", first, last);
}

// An outcome's difference as text: in nats per token, or in per cent of the baseline's tokens.
std::string outcome_value(OutcomeKind kind, double value, int decimals) {
  if (!std::isfinite(value)) return "-";
  return kind == OutcomeKind::kTokens ? fmt::format("{:+.{}f} %", percent(value), decimals)
                                      : difference(value, decimals);
}
std::string outcome_size(OutcomeKind kind, double value, int decimals) {
  return kind == OutcomeKind::kTokens ? fmt::format("{:.{}f} %", std::abs(percent(-value)), decimals)
                                      : fmt::format("{:.{}f}", value, decimals);
}

int decimals_of(OutcomeKind kind, const Estimate& estimate) {
  return kind == OutcomeKind::kTokens ? percent_decimals(estimate) : decimals(estimate);
}

std::string p_text(double p) {
  return p < 0.0001 ? "<0.0001" : fmt::format("{:.4f}", p);
}

std::string short_title(OutcomeKind kind) {
  return kind == OutcomeKind::kWholeCurve ? "whole curve" : std::string(key(kind));
}

// Which columns are shown: the correction if there is a family, the noise if there is no test.
struct Columns {
  bool corrected = false;
  bool noise = false;
};

Row estimate_row(const std::string& name, OutcomeKind kind, const Estimate& estimate, Verdict verdict,
                 const CurveNoise* noise, const Columns& columns) {
  const bool tested = estimate.tested();
  const int digits = decimals_of(kind, estimate);
  Row row = {name, fmt::format("{}", estimate.seeds), outcome_value(kind, estimate.mean, digits)};
  const auto add = [&](bool known, const std::string& text) {
    row.push_back(known ? text : "-");
  };
  if (columns.noise)
    add(!tested && noise && noise->known, noise ? fmt::format("{:.4f}", noise->standard_error) : "");
  add(tested, outcome_size(kind, estimate.standard_error, digits));
  add(tested, fmt::format("{} .. {}", outcome_value(kind, estimate.low(), digits),
                          outcome_value(kind, estimate.high(), digits)));
  add(tested, p_text(estimate.p));
  if (columns.corrected) add(tested && estimate.family > 1, p_text(estimate.p_corrected));
  add(tested, outcome_size(kind, estimate.smallest_detectable, digits));
  const std::string most = fmt::format(">{}", kMostSeeds);
  add(estimate.method != Method::kNone,
      estimate.seeds_needed ? fmt::format("{}", *estimate.seeds_needed) : most);
  row.push_back(std::string(to_string(verdict)));
  return row;
}

std::string differences_table(const Comparison& comparison) {
  Columns columns;
  for (const CandidateResult& one : comparison.candidates) {
    columns.corrected |= one.training.family > 1 && one.training.tested();
    columns.noise |= !one.training.tested();
  }
  Row head = {fmt::format("minus {}", comparison.variants[comparison.baseline].variant.label), "seeds",
              "mean"};
  if (columns.noise) head.push_back("curve's noise");
  for (const char* name : {"std. error", "95 % interval", "p"}) head.push_back(name);
  if (columns.corrected) head.push_back("p, Holm");
  for (const char* name : {"detectable", "seeds needed", "verdict"}) head.push_back(name);
  std::vector<Row> rows = {head};
  for (const CandidateResult& one : comparison.candidates) {
    const std::string& name = comparison.variants[one.variant].variant.label;
    for (const OutcomeKind kind : kOutcomes) {
      const CurveNoise* noise = kind == OutcomeKind::kTraining     ? &one.training_noise
                                : kind == OutcomeKind::kValidation ? &one.validation_noise
                                                                   : nullptr;
      if (const Estimate* estimate = estimate_of(one, kind))
        rows.push_back(estimate_row(fmt::format("{}, {}", name, short_title(kind)), kind, *estimate,
                                    verdict_of(one, kind), noise, columns));
    }
  }
  std::string text = fmt::format(
      "Difference in nats per token: training (decides the verdict) and validation over steps {}, whole "
      "curve over all steps {};\n"
      "tokens: change in per cent of those to the same loss, averaged over losses that the runs of both "
      "reach\n{}",
      steps(comparison.window.first_step, comparison.window.last_step),
      steps(comparison.grid.front().first_step, comparison.grid.back().last_step), aligned(rows));
  if (columns.corrected)
    text +=
        "  p, Holm: corrected within each outcome for the number of candidates; the verdict follows it.\n";
  if (columns.noise)
    text +=
        "  curve's noise: the standard error of one difference along its curve, without the scatter between "
        "seeds.\n";
  return text;
}

std::string variants_table(const Comparison& comparison) {
  std::vector<Row> rows = {{"", "runs", "window", "final", "smoothed", "validation",
                            fmt::format("tokens to {}", loss(comparison.target_loss))}};
  for (const VariantResult& variant : comparison.variants) {
    const size_t averaged = variant.averaged.size();
    const size_t all = variant.variant.runs.size();
    rows.push_back({variant.variant.label,
                    averaged == all ? fmt::format("{}", all) : fmt::format("{} of {}", averaged, all),
                    loss(variant.window_loss), loss(variant.loss.back()), loss(variant.smoothed.back()),
                    variant.validation.empty() ? "-" : loss(variant.validation.back()),
                    variant.tokens_to_target ? core::human_count(*variant.tokens_to_target) : "not reached"});
  }
  return fmt::format(
      "Losses, means over the runs compared: over the window, last line, smoothed over about {:.0f} steps, "
      "last validation\n{}",
      comparison.smoothing_steps, aligned(rows));
}

std::string curve_table(const Comparison& comparison, const CandidateResult& candidate) {
  const std::string& name = comparison.variants[candidate.variant].variant.label;
  std::vector<Row> rows = {
      {"steps", comparison.variants[comparison.baseline].variant.label, name, "difference"}};
  for (const Segment& one : candidate.segments) {
    rows.push_back({steps(one.first_step, one.last_step), loss(one.baseline), loss(one.candidate),
                    difference(one.difference)});
  }
  return fmt::format("Mean training loss along the curve\n{}", aligned(rows));
}

std::string validation_table(const Comparison& comparison) {
  // At most a dozen rows: the CSV has all of them.
  constexpr size_t kRows = 12;
  std::vector<Row> rows = {{"step"}};
  for (const VariantResult& variant : comparison.variants) rows[0].push_back(variant.variant.label);
  for (const CandidateResult& one : comparison.candidates)
    rows[0].push_back(comparison.variants[one.variant].variant.label + " - baseline");
  const size_t count = comparison.validation_steps.size();
  const size_t shown = std::min(kRows, count);
  for (size_t k = 0; k < shown; ++k) {
    const size_t i = count * (k + 1) / shown - 1;
    Row row = {fmt::format("{}", comparison.validation_steps[i])};
    for (const VariantResult& variant : comparison.variants) row.push_back(loss(variant.validation[i]));
    for (const CandidateResult& one : comparison.candidates)
      row.push_back(difference(one.validation_difference[i]));
    rows.push_back(row);
  }
  return fmt::format("Validation loss\n{}", aligned(rows));
}

int seed_decimals(const CandidateResult& candidate, OutcomeKind kind) {
  const Estimate* estimate = estimate_of(candidate, kind);
  return estimate ? decimals_of(kind, *estimate) : 4;
}

std::string seeds_table(const CandidateResult& candidate) {
  std::vector<Row> rows = {{"seed"}};
  for (const OutcomeKind kind : kOutcomes) rows.front().push_back(short_title(kind));
  for (const SeedDifference& one : candidate.seeds) {
    Row& row = rows.emplace_back(Row{fmt::format("{}", one.seed)});
    for (const OutcomeKind kind : kOutcomes)
      row.push_back(outcome_value(kind, value_of(one, kind), seed_decimals(candidate, kind)));
  }
  return fmt::format("Difference by seed\n{}", aligned(rows));
}

std::string settings_table(const Comparison& comparison, const CandidateResult& candidate) {
  std::vector<Row> rows = {{"setting", comparison.variants[comparison.baseline].variant.label,
                            comparison.variants[candidate.variant].variant.label}};
  for (const SettingDifference& one : candidate.settings) {
    if (one.material) rows.push_back({one.key, one.baseline, one.candidate});
  }
  if (rows.size() == 1) return "No setting that changes what is learnt differs but the seed.\n";
  return fmt::format("Settings that differ{}\n{}", candidate.attention_alone ? ": attention alone" : "",
                     aligned(rows));
}

}  // namespace

std::string to_table(const Comparison& comparison) {
  std::string text;
  for (const CandidateResult& one : comparison.candidates) {
    for (const std::string& line : one.summary) text.append(line).append("\n");
    text += "\n";
  }
  text.append(differences_table(comparison)).append("\n").append(variants_table(comparison));
  for (const CandidateResult& one : comparison.candidates) {
    text.append("\n").append(curve_table(comparison, one));
    if (one.seeds.size() > 1) text.append("\n").append(seeds_table(one));
    text.append("\n").append(settings_table(comparison, one));
  }
  if (!comparison.validation_steps.empty()) text.append("\n").append(validation_table(comparison));
  if (!comparison.notes.empty()) text += "\nNotes\n";
  for (const Note& note : comparison.notes)
    text += fmt::format("  {} {}\n", note.warning ? "!" : "-", note.text);
  return text;
}

}  // namespace ssgpt::report
