// The curves of several runs on the steps that all of them share.
#pragma once

#include "report/run_data.h"

#include <cstdint>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace ssgpt::report {

// The value of a curve at a point without data.
inline constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

// The steps first_step..last_step, which lines of every run cover exactly.
struct Stretch {
  int64_t first_step = 0;
  int64_t last_step = 0;
  int64_t tokens = 0;  // seen by the first run by the end of last_step
  double steps() const { return static_cast<double>(last_step - first_step + 1); }
};

// The finest common division of the runs' lines. A line holds the mean over the steps since the previous one,
// so runs that log every 10 and every 15 steps are compared over stretches of 30. Throws core::UsageError if
// they share none.
std::vector<Stretch> shared_stretches(std::span<const RunData* const> runs);

// The mean loss of `run` over each stretch; NaN if a line in it was not finite, or if the run's lines do not
// cover the stretch exactly.
std::vector<double> losses_on(const RunData& run, std::span<const Stretch> grid);

// Steps at which every run has a validation loss, and why some of them cannot be paired.
struct SharedValidations {
  std::vector<int64_t> steps;  // all losses are over the same windows of the same text
  size_t left_out = 0;         // further steps at which all have one
  std::string reason;          // why the last of these was left out
};
SharedValidations shared_validations(std::span<const RunData* const> runs);

// NaN where the run has no validation loss.
std::vector<double> validation_on(const RunData& run, std::span<const int64_t> steps);

// Indices begin..end (end excluded) of the grid.
struct Window {
  size_t begin = 0;
  size_t end = 0;
  int64_t first_step = 0;
  int64_t last_step = 0;
};

// Selects the stretches inside the window described by `text`: "FIRST:LAST" in steps, or a fraction of the
// shared steps counted from their end ("0.2", "20%"); nullopt means the last 20 %. Throws core::UsageError.
Window select_window(std::span<const Stretch> grid, const std::optional<std::string>& text);

}  // namespace ssgpt::report
