#include "report/tokens.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace ssgpt::report {
namespace {

constexpr size_t kShare = 5;  // one fit uses 1 / kShare of the points
constexpr size_t kFewestInFit = 3;

// Sums over points 0..i (i excluded) of the weights and their products with x and y.
struct Sums {
  double weight = 0.0;
  double x = 0.0;
  double y = 0.0;
  double xx = 0.0;
  double xy = 0.0;

  Sums operator-(const Sums& other) const {
    return {weight - other.weight, x - other.x, y - other.y, xx - other.xx, xy - other.xy};
  }
  void add(double w, double at, double value) {
    weight += w;
    x += w * at;
    y += w * value;
    xx += w * at * at;
    xy += w * at * value;
  }
  double line_at(double at) const {
    const double slope = (weight * xy - x * y) / (weight * xx - x * x);
    return (y + slope * (weight * at - x)) / weight;
  }
};

}  // namespace

std::vector<double> fit_curve(const std::vector<double>& losses, const std::vector<Stretch>& grid) {
  const size_t points = losses.size();
  const size_t in_fit = points / kShare;
  const bool finite =
      std::all_of(losses.begin(), losses.end(), [](double loss) { return std::isfinite(loss); });
  if (!finite || in_fit < kFewestInFit) return {};
  // Log tokens relative to the last point's, where the sums below lose the least precision.
  std::vector<double> at;
  for (const Stretch& stretch : grid)
    at.push_back(std::log(static_cast<double>(stretch.tokens) / static_cast<double>(grid.back().tokens)));
  std::vector<Sums> sums(1);
  for (size_t i = 0; i < points; ++i) {
    sums.push_back(sums.back());
    sums.back().add(grid[i].steps(), at[i], losses[i] - losses.back());
  }
  std::vector<double> fitted;
  for (size_t i = 0; i < points; ++i) {
    const size_t begin = std::min(i - std::min(i, in_fit / 2), points - in_fit);
    fitted.push_back(losses.back() + (sums[begin + in_fit] - sums[begin]).line_at(at[i]));
  }
  return fitted;
}

LossRange shared_range(const std::vector<const std::vector<double>*>& curves) {
  LossRange range = {std::numeric_limits<double>::infinity(), -std::numeric_limits<double>::infinity()};
  for (const std::vector<double>* curve : curves) {
    range.highest = std::min(range.highest, (*curve)[curve->size() / 4]);
    range.lowest = std::max(range.lowest, curve->back());
  }
  return !curves.empty() && range.lowest < range.highest ? range : LossRange{kNaN, kNaN};
}

double mean_log_tokens(const std::vector<double>& curve, const std::vector<Stretch>& grid,
                       const LossRange& range) {
  if (curve.empty() || std::isnan(range.lowest)) return kNaN;
  const auto at = [&](size_t i) {
    return std::log(static_cast<double>(grid[i].tokens));
  };
  const auto share = [&](size_t i) {
    return std::clamp((curve[i] - range.lowest) / (range.highest - range.lowest), 0.0, 1.0);
  };
  double mean = at(0);
  for (size_t i = 1; i < curve.size(); ++i) mean += 0.5 * (share(i - 1) + share(i)) * (at(i) - at(i - 1));
  return mean;
}

}  // namespace ssgpt::report
