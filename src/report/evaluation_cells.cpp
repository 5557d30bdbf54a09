#include "report/evaluation_cells.h"

#include "report/evaluation_words.h"
#include "report/text_table.h"

#include <algorithm>
#include <cmath>
#include <string_view>
#include <utility>

#include <fmt/format.h>
#include <fmt/ranges.h>

namespace ssgpt::report {
namespace {

// Points side by side in a table whose rows are variants; further points go into further tables.
constexpr size_t kPointsAcross = 8;

}  // namespace

std::string value_text(double number) {
  return std::isfinite(number) ? fmt::format("{:.4f}", number) : "-";
}

std::string list_seeds(const std::vector<uint64_t>& seeds) {
  return seeds.size() == 1 ? fmt::format("seed {}", seeds.front())
                           : fmt::format("{} seeds ({})", seeds.size(), fmt::join(seeds, ", "));
}

std::vector<std::vector<const EvaluatedModel*>> models_by_variant(const EvaluatedCondition& condition) {
  std::vector<std::vector<const EvaluatedModel*>> variants;
  for (const EvaluatedModel& model : condition.models) {
    auto found = std::find_if(variants.begin(), variants.end(),
                              [&](const auto& one) { return one.front()->variant == model.variant; });
    if (found == variants.end()) found = variants.emplace(found);
    found->push_back(&model);
  }
  return variants;
}

std::string table_across(const Evaluation& evaluation, const std::vector<std::string>& names,
                         const std::function<std::string(size_t row, size_t point)>& cell) {
  std::string text;
  const std::vector<std::string> head = point_head(evaluation.kind);
  for (size_t first = 0; first < evaluation.points.size(); first += kPointsAcross) {
    const size_t end = std::min(evaluation.points.size(), first + kPointsAcross);
    std::vector<TextTable::Align> columns(1 + end - first, TextTable::Align::kRight);
    columns[0] = TextTable::Align::kLeft;
    TextTable table(std::move(columns));
    for (size_t line = 0; line < head.size(); ++line) {
      std::vector<std::string> row = {head[line]};
      for (size_t i = first; i < end; ++i) row.push_back(point_cells(evaluation, evaluation.points[i])[line]);
      table.add(std::move(row));
    }
    table.add_rule();
    for (size_t name = 0; name < names.size(); ++name) {
      std::vector<std::string> row = {names[name]};
      for (size_t i = first; i < end; ++i) row.push_back(cell(name, i));
      table.add(std::move(row));
    }
    text += table.text(/*indent=*/2);
  }
  return text;
}

std::string fits_text(const Evaluation& evaluation) {
  std::string text;
  const ModelChanges& common = evaluation.conditions[0].models[0].changes;
  if (common.yarn_factor)
    text += fmt::format("Changed in every model: YaRN, factor {}.\n", *common.yarn_factor);
  for (const EvaluatedModel& model : evaluation.conditions[0].models) {
    if (const auto& fit = model.fitted) {
      text += fmt::format(
          "{}, seed {}: p_n beyond its {} entries is {:.4g} log n {:+.4g} (fitted to them; residuals: root "
          "mean square {:.2g}, at most {:.2g}).\n",
          model.variant, model.seed, fit->entries, fit->a1, fit->a2, fit->rms_residual, fit->max_residual);
    }
  }
  return text;
}

std::string notes_text(const Evaluation& evaluation) {
  std::string text = evaluation.notes.empty() ? "" : "\nNotes\n";
  for (const Note& note : evaluation.notes)
    text += fmt::format("  {} {}\n", note.warning ? "!" : "-", note.text);
  return text;
}

}  // namespace ssgpt::report
