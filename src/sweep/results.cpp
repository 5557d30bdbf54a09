#include "sweep/results.h"

#include "core/error.h"
#include "core/file.h"
#include "report/comparison.h"
#include "report/output.h"
#include "report/run_data.h"
#include "report/text_table.h"
#include "run/metrics_line.h"
#include "sweep/plan.h"
#include "sweep/status.h"

#include <algorithm>
#include <cmath>
#include <exception>
#include <limits>
#include <optional>

#include <fmt/format.h>

namespace ssgpt::sweep {
namespace {

namespace fs = std::filesystem;

bool has_loss(const fs::path& directory, const config::SweepRun& run) {
  return run::read_last_loss(directory_of(directory, run).metrics()).has_value();
}

// Reads the run's losses; where there are none or they cannot be read, returns nullopt and adds a note that
// says why.
std::optional<report::RunData> read_losses(const fs::path& directory, const config::SweepRun& run,
                                           std::vector<std::string>& notes) {
  const run::RunDirectory folder = directory_of(directory, run);
  if (!has_loss(directory, run)) {
    notes.push_back(fmt::format("{} has no training loss, and is left out.", folder.path().string()));
    return std::nullopt;
  }
  try {
    return report::read_run(folder.path());
  } catch (const std::exception& error) {
    notes.push_back(
        fmt::format("{} cannot be read, and is left out: {}", folder.path().string(), error.what()));
    return std::nullopt;
  }
}

// Folder of the comparison at this point of the grid; `point` is empty without a grid.
fs::path report_folder(const fs::path& directory, const std::string& point) {
  const fs::path report = directory / "report";
  return point.empty() ? report : report / point;
}

fs::path grid_file(const fs::path& directory) {
  return directory / "report" / "grid.txt";
}

bool has_grid(const config::Sweep& sweep) {
  return !sweep.runs.front().grid.empty();
}

void compare_point(const fs::path& directory, const config::Sweep& sweep, const std::string& point,
                   Results& results) {
  report::Options options;
  for (const config::SweepRun& run : sweep.runs) {
    if (run.point != point || !read_losses(directory, run, results.notes)) continue;
    options.runs.push_back(directory_of(directory, run).path());
    if (!options.baseline && run.variant == sweep.variants.front()) options.baseline = options.runs.back();
  }
  const std::string of_point = point.empty() ? "" : fmt::format("{}: ", point);
  if (options.runs.size() < 2 || !options.baseline) {
    results.notes.push_back(
        fmt::format("{}there is no comparison: it takes two runs or more with a training loss, one of "
                    "them the baseline's, and there {} {}.",
                    of_point, options.runs.size() == 1 ? "is" : "are", options.runs.size()));
    return;
  }
  try {
    const report::Comparison comparison = report::compare(options);
    const fs::path out = report_folder(directory, point);
    if (!point.empty()) {
      results.text += fmt::format("{}\n{}\n", point, std::string(point.size(), '='));
    }
    report::write_files(comparison, out);
    results.directories.push_back(out);
    results.text += fmt::format("{}\n", report::to_table(comparison));
  } catch (const core::UsageError& error) {  // these runs cannot be compared; others may be
    results.notes.push_back(fmt::format("{}{}", of_point, error.what()));
  }
}

// Mean over the last fifth of the steps, weighted by step; NaN where a loss there is not finite.
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
  int64_t finished = 0;
  int64_t seeds = 0;
  std::optional<double> mean() const {
    return finished == 0 ? std::nullopt : std::optional(sum / static_cast<double>(finished));
  }
  bool is_whole() const { return finished == seeds; }
};

Cell cell_of(const fs::path& directory, const config::Sweep& sweep, const std::string& variant,
             const std::string& point) {
  Cell cell;
  std::vector<std::string> ignored_notes;
  for (const config::SweepRun& run : sweep.runs) {
    if (run.variant != variant || run.point != point) continue;
    ++cell.seeds;
    const Status status = status_or_failure(directory_of(directory, run), run.config.train.max_steps);
    if (status.state != State::kDone) continue;
    if (const auto losses = read_losses(directory, run, ignored_notes)) {
      cell.sum += mean_loss_at_the_end(*losses);
      ++cell.finished;
    }
  }
  return cell;
}

// "3.12345", "3.12345 *", or "3.12345 (2 of 4)" where seeds are missing.
std::string to_text(const Cell& cell, double best) {
  const std::optional<double> mean = cell.mean();
  const std::string text = mean ? fmt::format("{:.5f}", *mean) : "-";
  if (!cell.is_whole()) return fmt::format("{}   ({} of {})", text, cell.finished, cell.seeds);
  return mean && *mean == best ? fmt::format("{} *", text) : text;
}

}  // namespace

std::string grid_table(const fs::path& directory, const config::Sweep& sweep) {
  std::vector<std::vector<Cell>> cells(sweep.variants.size());  // by variant, then point
  std::vector<double> best(sweep.variants.size(), std::numeric_limits<double>::infinity());
  for (size_t v = 0; v < sweep.variants.size(); ++v) {
    for (const std::string& point : sweep.points) {
      cells[v].push_back(cell_of(directory, sweep, sweep.variants[v], point));
      const Cell& cell = cells[v].back();
      const double mean = cell.mean().value_or(std::nan(""));
      if (cell.is_whole() && std::isfinite(mean)) best[v] = std::min(best[v], mean);
    }
  }
  report::TextTable table(
      std::vector<report::TextTable::Align>(sweep.variants.size() + 1, report::TextTable::Align::kLeft));
  std::vector<std::string> head = {"grid"};
  head.insert(head.end(), sweep.variants.begin(), sweep.variants.end());
  table.add(head);
  for (size_t p = 0; p < sweep.points.size(); ++p) {
    std::vector<std::string> row = {sweep.points[p]};
    for (size_t v = 0; v < sweep.variants.size(); ++v) row.push_back(to_text(cells[v][p], best[v]));
    table.add(row);
  }
  std::string text = fmt::format(
      "Mean training loss over the last fifth of the steps, in nats per token, over the finished runs of all "
      "seeds (how many, where not all are); * best of its column among those of all seeds\n"
      "{}",
      table.text(/*indent=*/2));
  if (sweep.variants.size() > 1) {
    text +=
        "  The verdicts of each point are corrected for its own candidates only: with many points, one may "
        "be false.\n";
  }
  return text;
}

std::vector<fs::path> result_files(const fs::path& directory, const config::Sweep& sweep) {
  std::vector<fs::path> files;
  for (const std::string& point : sweep.points) {
    for (const char* name : report::kFileNames) files.push_back(report_folder(directory, point) / name);
  }
  if (has_grid(sweep)) files.push_back(grid_file(directory));
  return files;
}

Results write_results(const fs::path& directory, const config::Sweep& sweep) {
  Results results;
  for (const std::string& point : sweep.points) compare_point(directory, sweep, point, results);
  if (has_grid(sweep) && std::any_of(sweep.runs.begin(), sweep.runs.end(),
                                     [&](const auto& run) { return has_loss(directory, run); })) {
    const std::string table = grid_table(directory, sweep);
    core::create_writable_directory(grid_file(directory).parent_path());
    core::write_text_atomically(grid_file(directory), table);
    results.text += table;
  }
  return results;
}

}  // namespace ssgpt::sweep
