#include "report/series.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>

namespace ssgpt::report {

std::vector<double> smooth(const std::vector<double>& values, double span) {
  const double decay = 1.0 - 1.0 / std::max(1.0, span);
  std::vector<double> smoothed;
  double mean = std::numeric_limits<double>::quiet_NaN();
  double weight = 0.0;
  for (const double value : values) {
    if (std::isfinite(value)) {
      weight = decay * weight + (1.0 - decay);
      mean = std::isnan(mean) ? value : mean + (1.0 - decay) / weight * (value - mean);
    }
    smoothed.push_back(mean);
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
    if (!(smoothed[i] <= target)) continue;
    const double tokens = static_cast<double>(grid[i].tokens);
    if (i == 0 || std::isnan(smoothed[i - 1])) return tokens;
    const double before = static_cast<double>(grid[i - 1].tokens);
    return before + (tokens - before) * (smoothed[i - 1] - target) / (smoothed[i - 1] - smoothed[i]);
  }
  return std::nullopt;
}

}  // namespace ssgpt::report
