#include "model/sampling.h"

#include "core/error.h"
#include "core/random.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace ssgpt::model {
namespace {

constexpr int kDraws = 20000;

std::vector<float> random_logits(size_t count, uint64_t seed) {
  std::vector<float> logits;
  for (size_t i = 0; i < count; ++i) logits.push_back(static_cast<float>(3.0 * core::random_normal(seed, i)));
  return logits;
}

// The distribution by its definition: softmax of logits / temperature; all but the k likeliest are removed,
// then all but the shortest list of likeliest ones that holds p of what is left.
std::vector<double> distribution(const std::vector<float>& logits, const SamplingOptions& options) {
  std::vector<double> p;
  for (const float logit : logits) p.push_back(std::exp(static_cast<double>(logit) / options.temperature));
  std::vector<size_t> order(p.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return logits[a] > logits[b]; });
  if (options.top_k > 0) order.resize(std::min(order.size(), static_cast<size_t>(options.top_k)));
  double total = 0.0;
  for (const size_t i : order) total += p[i];
  double cumulative = 0.0;
  size_t kept = 0;
  while (kept < order.size() && cumulative < options.top_p * total) cumulative += p[order[kept++]];
  std::vector<double> result(p.size(), 0.0);
  for (size_t i = 0; i < kept; ++i) result[order[i]] = p[order[i]] / cumulative;
  return result;
}

// How often each token is drawn by evenly spaced uniform numbers.
std::vector<double> frequencies(const std::vector<float>& logits, const SamplingOptions& options) {
  TokenSampler sampler(options);
  std::vector<double> result(logits.size(), 0.0);
  for (int i = 0; i < kDraws; ++i) {
    const double uniform = (i + 0.5) / kDraws;
    result[static_cast<size_t>(sampler.choose(logits, uniform))] += 1.0 / kDraws;
  }
  return result;
}

TEST(TokenSampler, DrawsFromTheDistributionThatItsOptionsDefine) {
  const std::vector<SamplingOptions> all_options = {
      {.temperature = 1.0, .top_k = 0, .top_p = 1.0},   {.temperature = 0.5, .top_k = 0, .top_p = 1.0},
      {.temperature = 3.0, .top_k = 0, .top_p = 1.0},   {.temperature = 1.0, .top_k = 1, .top_p = 1.0},
      {.temperature = 1.5, .top_k = 7, .top_p = 1.0},   {.temperature = 1.0, .top_k = 99, .top_p = 1.0},
      {.temperature = 1.0, .top_k = 0, .top_p = 0.9},   {.temperature = 2.0, .top_k = 0, .top_p = 0.3},
      {.temperature = 1.0, .top_k = 0, .top_p = 1e-9},  {.temperature = 2.0, .top_k = 9, .top_p = 0.8},
      {.temperature = 50.0, .top_k = 0, .top_p = 0.99},
  };
  for (const uint64_t seed : {1, 2, 3}) {
    const std::vector<float> logits = random_logits(41, seed);
    for (const SamplingOptions& options : all_options) {
      const std::vector<double> expected = distribution(logits, options);
      const std::vector<double> actual = frequencies(logits, options);
      for (size_t i = 0; i < logits.size(); ++i) {
        // An interval of length p holds floor(N p) or one more of N evenly spaced points.
        EXPECT_NEAR(actual[i], expected[i], 1.01 / kDraws)
            << "token " << i << ", temperature " << options.temperature << ", k " << options.top_k << ", p "
            << options.top_p;
      }
    }
  }
}

TEST(TokenSampler, TakesTheLowestIdsAmongEquals) {
  const std::vector<float> logits = {0.0f, 2.0f, 2.0f, -1.0f, 2.0f};
  for (const double uniform : {0.0, 0.5, 0.999}) {
    EXPECT_EQ(TokenSampler({.temperature = 0.0}).choose(logits, uniform), 1);
    EXPECT_EQ(TokenSampler({.temperature = 1.0, .top_k = 1, .top_p = 1.0}).choose(logits, uniform), 1);
    EXPECT_EQ(TokenSampler({.temperature = 1.0, .top_k = 0, .top_p = 0.2}).choose(logits, uniform), 1);
  }
  EXPECT_EQ(TokenSampler({.temperature = 1.0, .top_k = 2, .top_p = 1.0}).choose(logits, 0.999), 2);
}

TEST(TokenSampler, ManagesExtremeTemperaturesAndNumbers) {
  const std::vector<float> logits = {-3e38f, 1e30f, 0.0f, 3e38f};
  const double last = std::nextafter(1.0, 0.0);
  for (const double temperature : {1e-300, 1.0, 1e300}) {
    TokenSampler sampler({.temperature = temperature, .top_k = 0, .top_p = 1.0});
    const int64_t token = sampler.choose(logits, last);
    EXPECT_EQ(token, 3) << temperature;
  }
  // Tokens of probability 0 are not drawn at either end.
  EXPECT_EQ(TokenSampler({.temperature = 1.0, .top_p = 1.0}).choose(logits, 0.0), 3);
}

TEST(TokenSampler, RefusesLogitsThatAreNotFinite) {
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    for (const double temperature : {0.0, 1.0}) {
      TokenSampler sampler({.temperature = temperature});
      EXPECT_THROW(sampler.choose(std::vector<float>{1.0f, bad, 2.0f}, 0.5), core::RunError);
    }
  }
}

}  // namespace
}  // namespace ssgpt::model
