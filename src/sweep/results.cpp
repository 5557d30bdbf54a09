#include "sweep/results.h"

#include "core/error.h"
#include "core/file.h"
#include "report/comparison.h"
#include "report/output.h"
#include "report/run_data.h"
#include "report/text_table.h"
#include "run/metrics_line.h"
#include "sweep/plan.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>

#include <fmt/format.h>

namespace ssgpt::sweep {
namespace {

namespace fs = std::filesystem;

bool has_loss(const fs::path& directory, const config::SweepRun& run) {
  return run::read_last_loss(directory_of(directory, run).metrics()).has_value();
}

void compare_point(const fs::path& directory, const config::Sweep& sweep, const std::string& point,
                   Results& results) {
  report::Options options;
  std::optional<fs::path> baseline;
  for (const config::SweepRun& run : sweep.runs) {
    if (run.point != point || !has_loss(directory, run)) continue;
    options.runs.push_back(directory_of(directory, run).path());
    if (!baseline && run.variant == sweep.variants.front()) baseline = options.runs.back();
  }
  options.baseline = baseline;
  const std::string of_point = point.empty() ? "" : fmt::format("{}: ", point);
  if (options.runs.size() < 2 || !baseline) {
    results.notes.push_back(
        fmt::format("{}there is no comparison: it takes two runs or more with a training loss, one of "
                    "them the baseline's, and there {} {}.",
                    of_point, options.runs.size() == 1 ? "is" : "are", options.runs.size()));
    return;
  }
  try {
    const report::Comparison comparison = report::compare(options);
    const fs::path out = directory / "report" / point;
    report::write_files(comparison, point.empty() ? directory / "report" : out);
    results.directories.push_back(point.empty() ? directory / "report" : out);
    if (!point.empty()) results.text += fmt::format("{}\n{}\n", point, std::string(point.size(), '='));
    results.text += fmt::format("{}\n", report::to_table(comparison));
  } catch (const core::UsageError& error) {  // these runs cannot be set side by side; others may
    results.notes.push_back(fmt::format("{}{}", of_point, error.what()));
  }
}

// By steps, over the last fifth of them; NaN where a loss there is not finite.
double mean_loss_at_the_end(const report::RunData& run) {
  const int64_t last = run.train.back().last_step;
  const int64_t first = last - std::max<int64_t>(1, last / 5) + 1;
  double sum = 0.0;
  int64_t steps = 0;
  for (const report::TrainPoint& point : run.train) {
    if (point.last_step < first) continue;
    const int64_t covered = point.last_step - std::max(first, point.first_step) + 1;
    sum += point.loss * static_cast<double>(covered);
    steps += covered;
  }
  return sum / static_cast<double>(steps);
}

struct Cell {
  double sum = 0.0;
  int64_t seeds = 0;
  std::optional<double> mean() const {
    return seeds == 0 ? std::nullopt : std::optional(sum / static_cast<double>(seeds));
  }
};

Cell cell_of(const fs::path& directory, const config::Sweep& sweep, const std::string& variant,
             const std::string& point) {
  Cell cell;
  for (const config::SweepRun& run : sweep.runs) {
    if (run.variant != variant || run.point != point || !has_loss(directory, run)) continue;
    cell.sum += mean_loss_at_the_end(report::read_run(directory_of(directory, run).path()));
    ++cell.seeds;
  }
  return cell;
}

}  // namespace

std::string grid_table(const fs::path& directory, const config::Sweep& sweep) {
  std::vector<report::TextTable::Align> columns(sweep.variants.size() + 1, report::TextTable::Align::kRight);
  columns.front() = report::TextTable::Align::kLeft;
  std::vector<std::vector<std::optional<double>>> means(sweep.variants.size());
  std::vector<double> best(sweep.variants.size(), std::numeric_limits<double>::infinity());
  for (size_t v = 0; v < sweep.variants.size(); ++v) {
    for (const std::string& point : sweep.points) {
      means[v].push_back(cell_of(directory, sweep, sweep.variants[v], point).mean());
      const double mean = means[v].back().value_or(std::nan(""));
      if (std::isfinite(mean)) best[v] = std::min(best[v], mean);
    }
  }
  report::TextTable table(columns);
  std::vector<std::string> head = {"grid"};
  for (const std::string& variant : sweep.variants) head.push_back(fmt::format("{}  ", variant));
  table.add(head);
  for (size_t p = 0; p < sweep.points.size(); ++p) {
    std::vector<std::string> cells = {sweep.points[p]};
    for (size_t v = 0; v < sweep.variants.size(); ++v) {
      const std::optional<double> mean = means[v][p];
      cells.push_back(mean ? fmt::format("{:.5f} {}", *mean, *mean == best[v] ? "*" : " ") : "-  ");
    }
    table.add(cells);
  }
  return fmt::format(
      "Mean training loss over the last fifth of the steps, nats a token, over all seeds; * best of its "
      "column\n{}  The verdicts of each point are corrected for its own candidates alone: of many points, "
      "one may "
      "have a false one.\n",
      table.text(/*indent=*/2));
}

Results write_results(const fs::path& directory, const config::Sweep& sweep) {
  Results results;
  for (const std::string& point : sweep.points) compare_point(directory, sweep, point, results);
  const bool has_grid = !sweep.runs.front().grid.empty();
  if (has_grid && std::any_of(sweep.runs.begin(), sweep.runs.end(),
                              [&](const auto& run) { return has_loss(directory, run); })) {
    const std::string table = grid_table(directory, sweep);
    core::create_writable_directory(directory / "report");
    core::write_text_atomically(directory / "report" / "grid.txt", table);
    results.text += table;
  }
  return results;
}

}  // namespace ssgpt::sweep
