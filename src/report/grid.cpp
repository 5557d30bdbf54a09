#include "report/grid.h"

#include "core/check.h"
#include "core/error.h"
#include "core/text.h"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <limits>
#include <string_view>

#include <fmt/format.h>

namespace ssgpt::report {
namespace {

constexpr double kDefaultWindow = 0.2;

// Steps at the end of which a line of the run begins or ends.
std::vector<int64_t> boundaries(const RunData& run) {
  std::vector<int64_t> steps = {run.train.front().first_step - 1};
  for (const TrainPoint& point : run.train) steps.push_back(point.last_step);
  return steps;
}

std::vector<int64_t> intersection(const std::vector<int64_t>& a, const std::vector<int64_t>& b) {
  std::vector<int64_t> both;
  std::set_intersection(a.begin(), a.end(), b.begin(), b.end(), std::back_inserter(both));
  return both;
}

// The data of the validation loss that `run` has at `step`.
const std::string& data_at(const RunData& run, int64_t step) {
  const auto point = std::lower_bound(run.validation.begin(), run.validation.end(), step,
                                      [](const ValidationPoint& p, int64_t s) { return p.step < s; });
  return point->data;
}

// Why two validation losses, over "<fingerprint>/<windows>", are not of the same text; nullopt if they are.
std::optional<std::string> validation_mismatch(const std::string& a, const std::string& b) {
  if (a.empty() || b.empty())
    return "what they are over, which an earlier version did not write, is not known";
  if (a == b) return std::nullopt;
  const auto fingerprint = [](const std::string& data) {
    return data.substr(0, data.find('/'));
  };
  return fingerprint(a) == fingerprint(b) ? "the number of windows differs" : "the validation text differs";
}

std::optional<double> parse_fraction(std::string_view text) {
  const bool percent = text.ends_with('%');
  if (percent) text.remove_suffix(1);
  std::optional<double> value = core::parse_number<double>(text);
  if (value && percent) *value /= 100.0;
  return value && *value > 0.0 && *value <= 1.0 ? value : std::nullopt;
}

[[noreturn]] void throw_window(const std::string& text, std::span<const Stretch> grid, const char* reason) {
  throw core::UsageError(
      "--window {}: {}. Give FIRST:LAST in steps, within {}:{} that the runs share, or a fraction of these "
      "counted from the end: 0.2 or 20% is the last fifth.",
      text, reason, grid.front().first_step, grid.back().last_step);
}

}  // namespace

std::vector<Stretch> shared_stretches(std::span<const RunData* const> runs) {
  SSGPT_CHECK(!runs.empty(), "no runs");
  std::vector<int64_t> shared = boundaries(*runs.front());
  for (const RunData* run : runs.subspan(1)) shared = intersection(shared, boundaries(*run));
  if (shared.size() < 2) {
    std::string ranges;
    for (const RunData* run : runs) {
      ranges += fmt::format("{}{} has steps {} to {}, a line every {}", ranges.empty() ? "" : "; ",
                            run->directory.string(), run->train.front().first_step, run->last_step(),
                            run->config.log.every);
    }
    throw core::UsageError(
        "The runs share no stretch of steps, so there is nothing to compare: {}. Where one run "
        "continues another, continue the other one too: --resume RUN --run-dir NEW --set "
        "train.max_steps=N.",
        ranges);
  }
  std::vector<Stretch> grid;
  auto point = runs.front()->train.begin();
  for (size_t i = 1; i < shared.size(); ++i) {
    while (point->last_step < shared[i]) ++point;
    grid.push_back({shared[i - 1] + 1, shared[i], point->tokens});
  }
  return grid;
}

std::vector<double> losses_on(const RunData& run, std::span<const Stretch> grid) {
  std::vector<double> losses;
  auto point = run.train.begin();
  for (const Stretch& stretch : grid) {
    while (point != run.train.end() && point->first_step < stretch.first_step) ++point;
    if (point == run.train.end() || point->first_step != stretch.first_step) {
      losses.push_back(kNaN);
      continue;
    }
    // A single line is used as it is: taking the mean of one value could round it.
    if (point->last_step == stretch.last_step) {
      losses.push_back(point->loss);
      continue;
    }
    double sum = 0.0;
    int64_t end = 0;
    for (; point != run.train.end() && point->last_step <= stretch.last_step; ++point) {
      sum += point->loss * static_cast<double>(point->last_step - point->first_step + 1);
      end = point->last_step;
    }
    losses.push_back(end == stretch.last_step ? sum / stretch.steps() : kNaN);
  }
  return losses;
}

SharedValidations shared_validations(std::span<const RunData* const> runs) {
  const auto steps_of = [](const RunData& run) {
    std::vector<int64_t> steps;
    for (const ValidationPoint& point : run.validation) steps.push_back(point.step);
    return steps;
  };
  std::vector<int64_t> all = steps_of(*runs.front());
  for (const RunData* run : runs.subspan(1)) all = intersection(all, steps_of(*run));
  SharedValidations shared;
  for (const int64_t step : all) {
    const std::string& first = data_at(*runs.front(), step);
    std::optional<std::string> reason;
    for (const RunData* run : runs) {
      if (reason) break;
      reason = validation_mismatch(first, data_at(*run, step));
      if (reason) {
        shared.reason = fmt::format("{} between {} and {}", *reason, runs.front()->directory.string(),
                                    run->directory.string());
      }
    }
    if (reason) {
      ++shared.left_out;
    } else {
      shared.steps.push_back(step);
    }
  }
  return shared;
}

std::vector<double> validation_on(const RunData& run, std::span<const int64_t> steps) {
  std::vector<double> losses;
  auto point = run.validation.begin();
  for (const int64_t step : steps) {
    while (point != run.validation.end() && point->step < step) ++point;
    losses.push_back(point != run.validation.end() && point->step == step ? point->loss : kNaN);
  }
  return losses;
}

Window select_window(std::span<const Stretch> grid, const std::optional<std::string>& text) {
  const int64_t first = grid.front().first_step;
  const int64_t last = grid.back().last_step;
  int64_t from = 0;
  int64_t to = last;
  if (const size_t colon = text ? text->find(':') : std::string::npos; colon != std::string::npos) {
    const std::string_view view(*text);
    const auto begin = core::parse_number<int64_t>(view.substr(0, colon));
    const auto end = core::parse_number<int64_t>(view.substr(colon + 1));
    if (!begin || !end || *begin > *end)
      throw_window(*text, grid, "not two steps, the first not above the last");
    from = *begin;
    to = *end;
  } else {
    const std::optional<double> fraction = text ? parse_fraction(*text) : kDefaultWindow;
    if (!fraction) throw_window(*text, grid, "not a number above 0 and up to 1");
    from = last - std::llround(*fraction * static_cast<double>(last - first + 1)) + 1;
    // A fraction is a request, not a range: the last stretch stands for any shorter one.
    from = std::min(from, grid.back().first_step);
  }
  Window window;
  const auto starts =
      std::find_if(grid.begin(), grid.end(), [&](const Stretch& s) { return s.first_step >= from; });
  const auto ends =
      std::find_if(grid.begin(), grid.end(), [&](const Stretch& s) { return s.last_step > to; });
  window.begin = static_cast<size_t>(starts - grid.begin());
  window.end = static_cast<size_t>(ends - grid.begin());
  if (window.begin >= window.end) throw_window(text.value_or(""), grid, "no shared point lies in it");
  window.first_step = grid[window.begin].first_step;
  window.last_step = grid[window.end - 1].last_step;
  return window;
}

}  // namespace ssgpt::report
