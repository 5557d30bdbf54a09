// Plain arithmetic on curves: one value per point of the grid, NaN for a missing one.
#pragma once

#include "report/grid.h"

#include <cstddef>
#include <optional>
#include <vector>

namespace ssgpt::report {

// The finite values, with their weights (steps).
struct FinitePoints {
  std::vector<double> values;
  std::vector<double> weights;
};
FinitePoints finite_in(const std::vector<double>& values, const std::vector<Stretch>& grid, size_t begin,
                       size_t end);

// The mean per step over the finite values of begin..end (end excluded); NaN if there are none.
double mean_in(const std::vector<double>& values, const std::vector<Stretch>& grid, size_t begin, size_t end);

// The bias-corrected exponential mean of metrics::SmoothedMean over `span` points; NaN where the value is not
// finite, so that a curve ends where its run diverged.
std::vector<double> smooth(const std::vector<double>& values, double span);

// a - b, point by point; equal lengths.
std::vector<double> subtract(const std::vector<double>& a, const std::vector<double>& b);

// The mean over curves of equal length; at least one curve.
std::vector<double> mean_over(const std::vector<std::vector<double>>& series);

// Tokens at which `smoothed` first falls to `target`, interpolated linearly between two points; nullopt if it
// never does, or is not finite before.
std::optional<double> tokens_to_reach(const std::vector<double>& smoothed, const std::vector<Stretch>& grid,
                                      double target);

}  // namespace ssgpt::report
