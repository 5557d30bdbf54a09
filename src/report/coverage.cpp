#include "report/coverage.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <string>

#include <fmt/format.h>

namespace ssgpt::report {

std::vector<Note> coverage_notes(std::span<const RunData> runs, std::span<const Stretch> grid) {
  std::vector<Note> notes;
  const int64_t last = grid.back().last_step;
  int64_t shortest = std::numeric_limits<int64_t>::max();
  int64_t longest = 0;
  for (const RunData& run : runs) {
    const std::string name = run.directory.string();
    const int64_t end = run.train.back().last_step;
    shortest = std::min(shortest, run.config.log.every);
    longest = std::max(longest, run.config.log.every);
    if (end > last)
      notes.push_back(
          {false, fmt::format("{} goes on to step {}; only what all runs share, up to step {}, is compared.",
                              name, end, last)});
    if (end < run.config.train.max_steps)
      notes.push_back(
          {false, fmt::format("{} is not finished: step {} of {}.", name, end, run.config.train.max_steps)});
    if (run.torn_last_line)
      notes.push_back(
          {false,
           fmt::format(
               "The last line of {} is torn (a run that was killed or is writing) and was passed over.",
               run::RunDirectory(run.directory).metrics().string())});
    const auto missing = std::count_if(run.train.begin(), run.train.end(),
                                       [](const TrainPoint& p) { return std::isnan(p.loss); });
    if (missing > 0)
      notes.push_back({true, fmt::format("{} has {} lines without a finite training loss; they are left out.",
                                         name, missing)});
  }
  if (shortest != longest) {
    notes.push_back({false, fmt::format("The runs log every {} to {} steps; they are compared over "
                                        "the {} stretches that their lines share.",
                                        shortest, longest, grid.size())});
  }
  return notes;
}

}  // namespace ssgpt::report
