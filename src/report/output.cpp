#include "report/output.h"

#include "core/file.h"
#include "core/text.h"
#include "report/csv.h"
#include "report/drawn_files.h"

#include <algorithm>
#include <map>

#include <fmt/format.h>

namespace ssgpt::report {
namespace {

// A column of the table: its name, and its values on the stretches of steps or at the validation steps.
struct Column {
  std::string name;
  const std::vector<double>* values;
  bool validation = false;
};

std::vector<Column> columns_of(const Comparison& comparison) {
  std::vector<Column> columns;
  const auto label = [&](size_t variant) {
    return comparison.variants[variant].variant.label;
  };
  for (const RunResult& run : comparison.runs) {
    if (run.used) columns.push_back({fmt::format("loss/{}", run.label), &run.loss});
  }
  for (size_t i = 0; i < comparison.variants.size(); ++i)
    columns.push_back({fmt::format("smoothed/{}", label(i)), &comparison.variants[i].smoothed});
  for (const CandidateResult& one : comparison.candidates) {
    columns.push_back({fmt::format("difference/{}", label(one.variant)), &one.difference});
    columns.push_back({fmt::format("smoothed_difference/{}", label(one.variant)), &one.smoothed_difference});
  }
  for (const RunResult& run : comparison.runs) {
    if (run.used && !comparison.validation_steps.empty())
      columns.push_back({fmt::format("validation/{}", run.label), &run.validation, true});
  }
  return columns;
}

// At a shared validation step.
int64_t tokens_at(const Comparison& comparison, int64_t step) {
  const auto run = std::find_if(comparison.runs.begin(), comparison.runs.end(),
                                [](const RunResult& one) { return one.ending.compared; });
  const std::vector<ValidationPoint>& validation = run->data.validation;
  return std::find_if(validation.begin(), validation.end(),
                      [step](const ValidationPoint& p) { return p.step == step; })
      ->tokens;
}

}  // namespace

std::string to_csv(const Comparison& comparison) {
  const std::vector<Column> columns = columns_of(comparison);
  std::string text = "first_step,step,tokens";
  for (const Column& column : columns) text.append(",").append(csv_field(column.name));
  text += "\n";

  constexpr size_t kAbsent = static_cast<size_t>(-1);
  struct Row {
    size_t stretch = kAbsent;
    size_t validation = kAbsent;
  };
  std::map<int64_t, Row> rows;
  for (size_t i = 0; i < comparison.grid.size(); ++i) rows[comparison.grid[i].last_step].stretch = i;
  for (size_t i = 0; i < comparison.validation_steps.size(); ++i)
    rows[comparison.validation_steps[i]].validation = i;
  for (const auto& [step, row] : rows) {
    const bool stretch = row.stretch != kAbsent;
    text += stretch ? fmt::format("{},{},{}", comparison.grid[row.stretch].first_step, step,
                                  comparison.grid[row.stretch].tokens)
                    : fmt::format(",{},{}", step, tokens_at(comparison, step));
    for (const Column& column : columns) {
      const size_t index = column.validation ? row.validation : row.stretch;
      text.append(",").append(index == kAbsent ? "" : csv_number((*column.values)[index]));
    }
    text += "\n";
  }
  return text;
}

void write_files(const Comparison& comparison, const std::filesystem::path& directory) {
  core::create_writable_directory(directory);
  remove_drawn_files(directory, {"comparison.png"});
  core::write_text_atomically(directory / "comparison.csv", to_csv(comparison));
  core::write_text_atomically(directory / "table.txt", core::printable(to_table(comparison)));
  core::write_text_atomically(directory / "comparison.json", to_json(comparison));
}

}  // namespace ssgpt::report
