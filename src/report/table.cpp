#include "core/text.h"
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

// The first column to the left, the others to the right; a line under the heading.
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
std::string difference(double value) {
  return std::isfinite(value) ? fmt::format("{:+.4f}", value) : "-";
}
std::string steps(int64_t first, int64_t last) {
  return fmt::format("{}..{}", first, last);
}

Row estimate_row(const std::string& name, const Estimate& estimate) {
  const bool known = estimate.method != Method::kNone;
  return {name,
          difference(estimate.mean),
          known ? fmt::format("{:.4f}", estimate.standard_error) : "-",
          known ? fmt::format("{:+.4f} .. {:+.4f}", estimate.low(), estimate.high()) : "-",
          known ? fmt::format("{:.4f}", estimate.smallest_detectable) : "-",
          fmt::format("{}", to_string(estimate.verdict()))};
}

std::string differences_table(const Comparison& comparison) {
  std::vector<Row> rows = {{fmt::format("minus {}", comparison.variants[comparison.baseline].variant.label),
                            "mean", "std. error", "95 % interval", "detectable", "verdict"}};
  for (const CandidateResult& one : comparison.candidates) {
    const std::string& name = comparison.variants[one.variant].variant.label;
    rows.push_back(estimate_row(name + ", training", one.training));
    if (one.validation) rows.push_back(estimate_row(name + ", validation", *one.validation));
  }
  return fmt::format("Difference in nats a token over steps {}\n{}",
                     steps(comparison.window.first_step, comparison.window.last_step), aligned(rows));
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
  // At most a dozen rows: the CSV has them all.
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

std::string seeds_table(const CandidateResult& candidate) {
  std::vector<Row> rows = {{"seed", "training", "validation"}};
  for (const SeedDifference& one : candidate.seeds) {
    rows.push_back({fmt::format("{}", one.seed), difference(one.training), difference(one.validation)});
  }
  return fmt::format("Difference over the window by seed\n{}", aligned(rows));
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
