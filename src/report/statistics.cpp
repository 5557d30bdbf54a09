#include "report/statistics.h"

#include "core/check.h"

#include <algorithm>
#include <boost/math/distributions/non_central_t.hpp>
#include <boost/math/distributions/students_t.hpp>
#include <boost/math/tools/roots.hpp>
#include <cmath>
#include <limits>
#include <numeric>

namespace ssgpt::report {
namespace {

constexpr int64_t kMostBatches = 20;
constexpr int64_t kFewestBatches = 5;
constexpr int64_t kSmallestBatch = 4;  // points, if there are enough of them
constexpr double kBatchTimes = 3.0;    // correlation times per batch
constexpr double kCertain = 10.0;      // see t_test_power

double weighted_mean(std::span<const double> values, std::span<const double> weights) {
  return std::inner_product(values.begin(), values.end(), weights.begin(), 0.0) /
         std::accumulate(weights.begin(), weights.end(), 0.0);
}

std::vector<double> cut_into_batches(std::span<const double> values, std::span<const double> weights,
                                     int64_t batches) {
  std::vector<double> means;
  const size_t count = static_cast<size_t>(batches);
  for (size_t k = 0; k < count; ++k) {
    const size_t begin = values.size() * k / count;
    const size_t size = values.size() * (k + 1) / count - begin;
    means.push_back(weighted_mean(values.subspan(begin, size), weights.subspan(begin, size)));
  }
  return means;
}

double autocovariance(std::span<const double> values, double mean, size_t lag) {
  double sum = 0.0;
  for (size_t i = lag; i < values.size(); ++i) sum += (values[i] - mean) * (values[i - lag] - mean);
  return sum;
}

// 1 + 2 times the sum of the autocorrelations, in points, at least 1: see batch_means. 1 if neighbours
// correlate by less than 1 / sqrt(n), one standard deviation of the value for independent points.
double correlation_time(std::span<const double> values) {
  // Sokal's window ends at 5 integrated times of 1/2 + the sum, which are 2.5 of those counted here.
  constexpr double kWindow = 2.5;
  const double count = static_cast<double>(values.size());
  const double mean = mean_of(values);
  const double square = autocovariance(values, mean, 0);
  const double rounding = 4.0 * std::numeric_limits<double>::epsilon() * std::abs(mean);
  if (square <= count * rounding * rounding) return 1.0;  // equal values, up to rounding
  if (autocovariance(values, mean, 1) / square < 1.0 / std::sqrt(count)) return 1.0;
  double time = 1.0;
  size_t lag = 0;
  while (lag + 1 < values.size() && static_cast<double>(lag) < kWindow * time) {
    ++lag;
    time += 2.0 * autocovariance(values, mean, lag) / square;
  }
  return std::max(1.0, time) * (1.0 + (2.0 * static_cast<double>(lag) + 1.0) / count);
}

// The smallest count from `fewest` to kMostSeeds for which `enough` is true; once true, it must stay true.
template <typename Enough>
std::optional<int64_t> fewest_that(int64_t fewest, const Enough& enough) {
  int64_t low = fewest;
  int64_t high = fewest;
  while (high < kMostSeeds && !enough(static_cast<double>(high))) {
    low = high + 1;
    high = std::min(2 * high, kMostSeeds);
  }
  if (!enough(static_cast<double>(high))) return std::nullopt;
  while (low < high) {
    const int64_t middle = low + (high - low) / 2;
    if (enough(static_cast<double>(middle))) {
      high = middle;
    } else {
      low = middle + 1;
    }
  }
  return high;
}

// Whether kPower of the experiments with this standard error show the effect; without an error all do.
bool shows(double effect, double error, double degrees, double level) {
  return effect != 0.0 && t_test_power(effect / error, degrees, level) >= kPower;
}

}  // namespace

ShareInterval wilson_interval(int64_t successes, int64_t trials) {
  SSGPT_CHECK(trials > 0 && successes >= 0 && successes <= trials, "{} of {} trials", successes, trials);
  constexpr double kQuantile = 1.959963984540054;  // of the standard normal distribution, at 0.975
  const auto n = static_cast<double>(trials);
  const double share = static_cast<double>(successes) / n;
  const double square = kQuantile * kQuantile;
  const double middle = (share + square / (2.0 * n)) / (1.0 + square / n);
  const double half =
      kQuantile / (1.0 + square / n) * std::sqrt(share * (1.0 - share) / n + square / (4.0 * n * n));
  // Exactly 0 and 1 at the ends, where rounding errors would remain.
  return {.low = successes == 0 ? 0.0 : middle - half, .high = successes == trials ? 1.0 : middle + half};
}

double mean_of(std::span<const double> values) {
  return std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
}

double variance_of(std::span<const double> values, double mean) {
  double sum = 0.0;
  for (const double value : values) sum += (value - mean) * (value - mean);
  return sum / static_cast<double>(values.size() - 1);
}

double student_cdf(double t, double degrees) {
  SSGPT_CHECK(degrees > 0.0, "{} degrees of freedom", degrees);
  return boost::math::cdf(boost::math::students_t(degrees), t);
}

double student_quantile(double probability, double degrees) {
  SSGPT_CHECK(probability > 0.0 && probability < 1.0, "probability {} outside (0, 1)", probability);
  SSGPT_CHECK(degrees > 0.0, "{} degrees of freedom", degrees);
  return boost::math::quantile(boost::math::students_t(degrees), probability);
}

double two_sided_p(double t, double degrees) {
  if (std::isinf(t)) return 0.0;
  return 2.0 * boost::math::cdf(boost::math::complement(boost::math::students_t(degrees), std::abs(t)));
}

double t_test_power(double effect, double degrees, double level) {
  SSGPT_CHECK(degrees >= 1.0, "{} degrees of freedom", degrees);
  SSGPT_CHECK(level > 0.0 && level < 1.0, "level {} outside (0, 1)", level);
  const double critical = student_quantile(1.0 - 0.5 * level, degrees);
  // Its estimate would have to be this many times too large: a double could not tell the result from 1.
  if (std::abs(effect) > kCertain * critical) return 1.0;
  const boost::math::non_central_t distribution(degrees, std::abs(effect));
  return boost::math::cdf(boost::math::complement(distribution, critical)) +
         boost::math::cdf(distribution, -critical);
}

double detectable_errors(double degrees, double level) {
  const auto missing = [&](double effect) {
    return t_test_power(effect, degrees, level) - kPower;
  };
  double high = student_quantile(1.0 - 0.5 * level, degrees);
  while (missing(high) < 0.0) high *= 2.0;
  std::uintmax_t iterations = 100;
  const auto [below, above] = boost::math::tools::toms748_solve(
      missing, 0.0, high, boost::math::tools::eps_tolerance<double>(40), iterations);
  return 0.5 * (below + above);
}

std::optional<int64_t> pairs_needed(double effect, double scatter, double level, int64_t fewest) {
  return fewest_that(
      fewest, [&](double count) { return shows(effect, scatter / std::sqrt(count), count - 1.0, level); });
}

std::optional<int64_t> runs_needed(double effect, double candidate_scatter, double baseline_scatter,
                                   double level, int64_t fewest) {
  const double a = candidate_scatter * candidate_scatter;
  const double b = baseline_scatter * baseline_scatter;
  // Welch's degrees of freedom for equal numbers per side, over (count - 1).
  const double share = a + b > 0.0 ? (a + b) * (a + b) / (a * a + b * b) : 2.0;
  return fewest_that(fewest, [&](double count) {
    return shows(effect, std::sqrt((a + b) / count), share * (count - 1.0), level);
  });
}

std::vector<double> holm_corrected(std::span<const double> p) {
  std::vector<size_t> order(p.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return p[a] < p[b]; });
  std::vector<double> corrected(p.size());
  double largest = 0.0;
  for (size_t rank = 0; rank < order.size(); ++rank) {
    const double factor = static_cast<double>(order.size() - rank);
    largest = std::max(largest, std::min(1.0, factor * p[order[rank]]));
    corrected[order[rank]] = largest;
  }
  return corrected;
}

CurveNoise batch_means(std::span<const double> values, std::span<const double> weights) {
  SSGPT_CHECK(values.size() == weights.size(), "{} values, {} weights", values.size(), weights.size());
  CurveNoise noise;
  noise.points = static_cast<int64_t>(values.size());
  if (values.empty()) return noise;
  noise.mean = weighted_mean(values, weights);
  if (noise.points < kFewestPoints) return noise;

  noise.known = true;
  noise.correlation_time = correlation_time(values);
  const double time = noise.correlation_time;
  const double count = static_cast<double>(noise.points);
  const int64_t independent = static_cast<int64_t>(count / (kBatchTimes * time));
  noise.correlated = time > 1.0 && independent < kFewestBatches;
  const int64_t most = std::clamp(noise.points / kSmallestBatch, kFewestBatches, kMostBatches);
  noise.batches = time > 1.0 ? std::clamp(independent, kFewestBatches, most) : most;
  const std::vector<double> means = cut_into_batches(values, weights, noise.batches);
  const double batches = static_cast<double>(noise.batches);
  // Neighbouring batches of b points still share this part of their variance: for an AR(1) process with
  // coefficient phi, time = (1 + phi) / (1 - phi), it is 2 phi / (b (1 - phi^2)).
  const double shared = std::min(0.5, (time - 1.0 / time) * batches / (2.0 * count));
  const double variance = variance_of(means, mean_of(means)) / batches / (1.0 - shared);
  noise.standard_error = std::sqrt(variance);
  noise.degrees_of_freedom = batches - 1.0;
  return noise;
}

}  // namespace ssgpt::report
