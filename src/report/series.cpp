#include "report/series.h"

#include "metrics/meters.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <numeric>

namespace ssgpt::report {

FinitePoints finite_in(const std::vector<double>& values, const std::vector<Stretch>& grid, size_t begin,
                       size_t end) {
  FinitePoints points;
  for (size_t i = begin; i < end; ++i) {
    if (!std::isfinite(values[i])) continue;
    points.values.push_back(values[i]);
    points.weights.push_back(grid[i].steps());
  }
  return points;
}

double mean_in(const std::vector<double>& values, const std::vector<Stretch>& grid, size_t begin,
               size_t end) {
  const FinitePoints points = finite_in(values, grid, begin, end);
  const double weight = std::accumulate(points.weights.begin(), points.weights.end(), 0.0);
  return std::inner_product(points.values.begin(), points.values.end(), points.weights.begin(), 0.0) / weight;
}

std::vector<double> smooth(const std::vector<double>& values, double span) {
  metrics::SmoothedMean mean(1.0 - 1.0 / std::max(1.0, span));
  std::vector<double> smoothed;
  for (const double value : values) {
    mean.add(value);
    smoothed.push_back(std::isfinite(value) ? mean.value().value()
                                            : std::numeric_limits<double>::quiet_NaN());
  }
  return smoothed;
}

std::vector<double> subtract(const std::vector<double>& a, const std::vector<double>& b) {
  std::vector<double> result(a.size());
  std::transform(a.begin(), a.end(), b.begin(), result.begin(), std::minus<>());
  return result;
}

std::vector<double> mean_over(const std::vector<std::vector<double>>& series) {
  std::vector<double> mean(series.front().size(), 0.0);
  for (const std::vector<double>& one : series) {
    for (size_t i = 0; i < mean.size(); ++i) mean[i] += one[i] / static_cast<double>(series.size());
  }
  return mean;
}

std::optional<double> tokens_to_reach(const std::vector<double>& smoothed, const std::vector<Stretch>& grid,
                                      double target) {
  for (size_t i = 0; i < smoothed.size(); ++i) {
    if (std::isnan(smoothed[i])) return std::nullopt;
    if (smoothed[i] > target) continue;
    const double tokens = static_cast<double>(grid[i].tokens);
    if (i == 0) return tokens;
    const double before = static_cast<double>(grid[i - 1].tokens);
    return before + (tokens - before) * (smoothed[i - 1] - target) / (smoothed[i - 1] - smoothed[i]);
  }
  return std::nullopt;
}

}  // namespace ssgpt::report
