#include "report/coverage.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>
#include <string>

#include <fmt/format.h>

namespace ssgpt::report {
namespace {

// Notes on what of one run is left out or missing.
void add_notes_of(const RunData& run, const Ending& ending, int64_t last, std::vector<Note>& notes) {
  const std::string name = run.directory.string();
  const int64_t end = run.last_step();
  const int64_t steps = run.config.train.max_steps;
  if (!run.finished() && !ending.compared && end < last) {
    notes.push_back(
        {true, fmt::format("{} is left out: it {} at step {} of {}, and the comparison continues to step {}.",
                           name, ending.stopped ? "stopped" : "is still being trained,", end, steps, last)});
  } else if (!run.finished()) {
    notes.push_back(
        {ending.stopped, fmt::format("{} {}: step {} of {}.", name,
                                     ending.stopped ? "stopped" : "is not finished", end, steps)});
  }
  if (ending.compared && end > last)
    notes.push_back(
        {false, fmt::format("{} continues to step {}; only what the runs share, up to step {}, is compared.",
                            name, end, last)});
  if (run.torn_last_line)
    notes.push_back(
        {false,
         fmt::format("The last line of {} is torn (a run that was killed or is writing) and was passed over.",
                     run::RunDirectory(run.directory).metrics().string())});
  const auto missing = std::count_if(run.train.begin(), run.train.end(),
                                     [](const TrainPoint& p) { return std::isnan(p.loss); });
  if (missing > 0)
    notes.push_back({true, fmt::format("{} has {} lines without a finite training loss; they are left out.",
                                       name, missing)});
}

}  // namespace

std::vector<Ending> endings(std::span<const RunData> runs, std::span<const Variant> variants,
                            size_t baseline) {
  int64_t of_baseline = 0;
  int64_t of_candidates = 0;
  for (size_t i = 0; i < variants.size(); ++i) {
    int64_t& longest = i == baseline ? of_baseline : of_candidates;
    for (const size_t run : variants[i].runs) longest = std::max(longest, runs[run].last_step());
  }
  std::vector<Ending> result(runs.size());
  for (const Variant& variant : variants) {
    for (const size_t i : variant.runs) {
      const auto ends_before = [&run = runs[i]](int64_t step) {
        return !run.finished() && run.last_step() + run.config.log.every < step;
      };
      result[i].compared = !ends_before(std::min(of_baseline, of_candidates));
      result[i].stopped = !runs[i].being_trained && ends_before(std::max(of_baseline, of_candidates));
    }
  }
  return result;
}

std::string short_comparison(std::span<const RunData> runs, std::span<const Ending> endings,
                             std::span<const Stretch> grid) {
  const int64_t first = grid.front().first_step;
  const int64_t last = grid.back().last_step;
  int64_t longest = 0;
  const RunData* bounding = nullptr;  // the first of those that end first
  for (size_t i = 0; i < runs.size(); ++i) {
    if (!endings[i].compared) continue;
    longest = std::max(longest, runs[i].last_step());
    if (bounding == nullptr || runs[i].last_step() < bounding->last_step()) bounding = &runs[i];
  }
  if (2 * (last - first + 1) >= longest - first + 1) return "";
  return fmt::format("Only steps {} to {} are compared: {} ends at step {}, while the longest run has {}.",
                     first, last, bounding->directory.string(), bounding->last_step(), longest);
}

std::vector<Note> coverage_notes(std::span<const RunData> runs, std::span<const Ending> endings,
                                 std::span<const Stretch> grid) {
  std::vector<Note> notes;
  int64_t shortest = std::numeric_limits<int64_t>::max();
  int64_t longest = 0;
  if (const std::string text = short_comparison(runs, endings, grid); !text.empty())
    notes.push_back({true, text});
  for (size_t i = 0; i < runs.size(); ++i) {
    add_notes_of(runs[i], endings[i], grid.back().last_step, notes);
    shortest = std::min(shortest, runs[i].config.log.every);
    longest = std::max(longest, runs[i].config.log.every);
  }
  if (shortest != longest) {
    notes.push_back({false, fmt::format("The runs log every {} to {} steps; they are compared over "
                                        "the {} stretches that their lines share.",
                                        shortest, longest, grid.size())});
  }
  return notes;
}

}  // namespace ssgpt::report
