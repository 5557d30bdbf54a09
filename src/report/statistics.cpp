#include "report/statistics.h"

#include "core/check.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

namespace ssgpt::report {
namespace {

constexpr int64_t kMostBatches = 20;
constexpr int64_t kFewestBatches = 5;
constexpr int64_t kSmallestBatch = 4;  // points, where there are enough of them
constexpr double kBatchTimes = 3.0;    // correlation times that a batch holds

// Continued fraction of the incomplete beta function (Abramowitz and Stegun, 26.5.8), by Lentz's method.
double beta_fraction(double x, double a, double b) {
  constexpr double kTiny = 1e-300;
  constexpr double kEpsilon = 1e-15;
  const auto bounded = [](double v) {
    return std::abs(v) < kTiny ? kTiny : v;
  };
  double c = 1.0;
  double d = 1.0 / bounded(1.0 - (a + b) * x / (a + 1.0));
  double fraction = d;
  for (int m = 1; m <= 1000; ++m) {
    const double even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m));
    d = 1.0 / bounded(1.0 + even * d);
    c = bounded(1.0 + even / c);
    fraction *= d * c;
    const double odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1));
    d = 1.0 / bounded(1.0 + odd * d);
    c = bounded(1.0 + odd / c);
    fraction *= d * c;
    if (std::abs(d * c - 1.0) < kEpsilon) break;
  }
  return fraction;
}

double incomplete_beta(double x, double a, double b) {
  if (x <= 0.0) return 0.0;
  if (x >= 1.0) return 1.0;
  const double front =
      std::exp(std::lgamma(a + b) - std::lgamma(a) - std::lgamma(b) + a * std::log(x) + b * std::log1p(-x));
  if (x < (a + 1.0) / (a + b + 2.0)) return front * beta_fraction(x, a, b) / a;
  return 1.0 - front * beta_fraction(1.0 - x, b, a) / b;
}

// Fills in what follows from the standard error. The smallest difference that the experiment could have shown
// is (t(0.975) + t(0.80)) standard errors: a true difference of that size is found in 80 % of repetitions at
// the 95 % level (Bloom 1995, "Minimum detectable effects", Evaluation Review 19(5), p. 547).
void complete(Estimate& estimate, Method method, double standard_error, double degrees) {
  estimate.method = method;
  estimate.standard_error = standard_error;
  estimate.degrees_of_freedom = degrees;
  const double t = student_quantile(0.975, degrees);
  estimate.half_width = t * standard_error;
  estimate.smallest_detectable = (t + student_quantile(0.80, degrees)) * standard_error;
}

double mean_of(std::span<const double> values) {
  return std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
}

double variance_of(std::span<const double> values, double mean) {
  double sum = 0.0;
  for (const double value : values) sum += (value - mean) * (value - mean);
  return sum / static_cast<double>(values.size() - 1);
}

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

// 1 + 2 times the sum of the autocorrelations, in points, 1 at least: see batch_means. 1 where neighbours
// are less alike than one standard deviation, 1 / sqrt(n), of what independent values give.
double correlation_time(std::span<const double> values) {
  // Sokal's window ends at 5 integrated times of 1/2 + the sum, which are 2.5 of those counted here.
  constexpr double kWindow = 2.5;
  const double count = static_cast<double>(values.size());
  const double mean = mean_of(values);
  const double square = autocovariance(values, mean, 0);
  const double rounding = 4.0 * std::numeric_limits<double>::epsilon() * std::abs(mean);
  if (square <= count * rounding * rounding) return 1.0;  // equal values but for rounding
  if (autocovariance(values, mean, 1) / square < 1.0 / std::sqrt(count)) return 1.0;
  double time = 1.0;
  size_t lag = 0;
  while (lag + 1 < values.size() && static_cast<double>(lag) < kWindow * time) {
    ++lag;
    time += 2.0 * autocovariance(values, mean, lag) / square;
  }
  return std::max(1.0, time) * (1.0 + (2.0 * static_cast<double>(lag) + 1.0) / count);
}

}  // namespace

double student_cdf(double t, double degrees) {
  SSGPT_CHECK(degrees > 0.0, "{} degrees of freedom", degrees);
  const double tail = 0.5 * incomplete_beta(degrees / (degrees + t * t), 0.5 * degrees, 0.5);
  return t > 0.0 ? 1.0 - tail : tail;
}

double student_quantile(double probability, double degrees) {
  SSGPT_CHECK(probability > 0.0 && probability < 1.0, "probability {} outside (0, 1)", probability);
  if (probability < 0.5) return -student_quantile(1.0 - probability, degrees);
  double low = 0.0;
  double high = 1.0;
  while (student_cdf(high, degrees) < probability) high *= 2.0;
  for (int i = 0; i < 200 && high - low > 1e-14 * high; ++i) {
    const double middle = 0.5 * (low + high);
    (student_cdf(middle, degrees) < probability ? low : high) = middle;
  }
  return 0.5 * (low + high);
}

std::string_view to_string(Method method) {
  switch (method) {
    case Method::kNone:
      return "none";
    case Method::kBatchMeans:
      return "batch means";
    case Method::kSeedsPaired:
      return "seeds, paired";
    case Method::kSeedsUnpaired:
      return "seeds, unpaired";
  }
  return "";
}

std::string_view to_string(Verdict verdict) {
  switch (verdict) {
    case Verdict::kLower:
      return "lower";
    case Verdict::kHigher:
      return "higher";
    case Verdict::kNone:
      return "no verdict";
  }
  return "";
}

Verdict Estimate::verdict() const {
  if (method == Method::kNone || correlated || diverged) return Verdict::kNone;
  if (high() < 0.0) return Verdict::kLower;
  if (low() > 0.0) return Verdict::kHigher;
  return Verdict::kNone;
}

Estimate batch_means(std::span<const double> values, std::span<const double> weights) {
  SSGPT_CHECK(values.size() == weights.size(), "{} values, {} weights", values.size(), weights.size());
  Estimate estimate;
  estimate.values = static_cast<int64_t>(values.size());
  if (values.empty()) return estimate;
  estimate.mean = weighted_mean(values, weights);
  if (estimate.values < kFewestPoints) return estimate;

  estimate.correlation_time = correlation_time(values);
  const double time = estimate.correlation_time;
  const double count = static_cast<double>(estimate.values);
  const int64_t independent = static_cast<int64_t>(count / (kBatchTimes * time));
  estimate.correlated = time > 1.0 && independent < kFewestBatches;
  const int64_t most = std::clamp(estimate.values / kSmallestBatch, kFewestBatches, kMostBatches);
  estimate.batches = time > 1.0 ? std::clamp(independent, kFewestBatches, most) : most;
  const std::vector<double> means = cut_into_batches(values, weights, estimate.batches);
  const double batches = static_cast<double>(estimate.batches);
  // Neighbouring batches of b points still share this part of their variance: for an AR(1) of coefficient
  // phi, time = (1 + phi) / (1 - phi), it is 2 phi / (b (1 - phi^2)).
  const double shared = std::min(0.5, (time - 1.0 / time) * batches / (2.0 * count));
  const double variance = variance_of(means, mean_of(means)) / batches / (1.0 - shared);
  complete(estimate, Method::kBatchMeans, std::sqrt(variance), batches - 1.0);
  return estimate;
}

Estimate paired_seeds(std::span<const double> differences) {
  SSGPT_CHECK(!differences.empty(), "a comparison over no seeds");
  Estimate estimate;
  estimate.values = static_cast<int64_t>(differences.size());
  estimate.of_seeds = true;
  estimate.mean = mean_of(differences);
  if (estimate.values < 2) return estimate;
  const double count = static_cast<double>(estimate.values);
  complete(estimate, Method::kSeedsPaired, std::sqrt(variance_of(differences, estimate.mean) / count),
           count - 1.0);
  return estimate;
}

Estimate unpaired_seeds(std::span<const double> candidate, std::span<const double> baseline) {
  SSGPT_CHECK(!candidate.empty() && !baseline.empty(), "a comparison over no seeds");
  Estimate estimate;
  estimate.values = static_cast<int64_t>(std::min(candidate.size(), baseline.size()));
  estimate.of_seeds = true;
  const double candidate_mean = mean_of(candidate);
  const double baseline_mean = mean_of(baseline);
  estimate.mean = candidate_mean - baseline_mean;
  if (estimate.values < 2) return estimate;
  const double m = static_cast<double>(candidate.size());
  const double n = static_cast<double>(baseline.size());
  const double a = variance_of(candidate, candidate_mean) / m;
  const double b = variance_of(baseline, baseline_mean) / n;
  // Equal values on both sides leave no scatter to take the degrees from.
  const double degrees =
      a + b > 0.0 ? (a + b) * (a + b) / (a * a / (m - 1.0) + b * b / (n - 1.0)) : m + n - 2.0;
  complete(estimate, Method::kSeedsUnpaired, std::sqrt(a + b), degrees);
  return estimate;
}

}  // namespace ssgpt::report
