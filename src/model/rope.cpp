#include "model/rope.h"

#include "core/check.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <vector>

#include <ATen/ops/empty.h>

namespace ssgpt::model {
namespace {

// Frequency of each pair, in radians per position.
std::vector<double> plain_frequencies(int64_t dims, double theta) {
  std::vector<double> frequencies;
  for (int64_t i = 0; i < dims / 2; ++i) {
    frequencies.push_back(std::pow(theta, -2.0 * static_cast<double>(i) / static_cast<double>(dims)));
  }
  return frequencies;
}

// Fractional index of the pair that completes this many turns in a training window.
double pair_of_turns(double turns, int64_t dims, double theta, int64_t trained_length) {
  const double longest = static_cast<double>(trained_length) / (turns * 2.0 * std::numbers::pi);
  return static_cast<double>(dims) * std::log(longest) / (2.0 * std::log(theta));
}

void slow_down(std::vector<double>& frequencies, int64_t dims, double theta, const Yarn& yarn) {
  SSGPT_CHECK(yarn.factor >= 1.0 && yarn.trained_length > 0 && theta > 1.0,
              "YaRN with factor {}, a trained length of {} and theta {}", yarn.factor, yarn.trained_length,
              theta);
  constexpr double kFastTurns = 32.0;  // beta_fast and beta_slow of Hugging Face's config, and its rounding
  constexpr double kSlowTurns = 1.0;
  const double low = std::max(std::floor(pair_of_turns(kFastTurns, dims, theta, yarn.trained_length)), 0.0);
  double high = std::min(std::ceil(pair_of_turns(kSlowTurns, dims, theta, yarn.trained_length)),
                         static_cast<double>(dims - 1));
  if (low == high) high += 0.001;  // avoids division by zero
  for (size_t i = 0; i < frequencies.size(); ++i) {
    const double ramp = std::clamp((static_cast<double>(i) - low) / (high - low), 0.0, 1.0);
    frequencies[i] = frequencies[i] / yarn.factor * ramp + frequencies[i] * (1.0 - ramp);
  }
}

}  // namespace

kernels::Rotation make_rotation(int64_t time, int64_t rotated_dims, double theta, at::Device device,
                                const RopeChange& change) {
  SSGPT_CHECK(change.score_factor > 0.0, "scores times {}", change.score_factor);
  SSGPT_CHECK(rotated_dims >= 0 && rotated_dims % 2 == 0, "{} dimensions rotated", rotated_dims);
  const int64_t half = rotated_dims / 2;
  std::vector<double> frequencies = plain_frequencies(rotated_dims, theta);
  const double rest = std::sqrt(change.score_factor);
  double magnitude = rest;
  if (change.yarn && half > 0) {
    slow_down(frequencies, rotated_dims, theta, *change.yarn);
    magnitude *= 0.1 * std::log(change.yarn->factor) + 1.0;
  }
  const at::Tensor cos = at::empty({time, half}, at::kFloat);
  const at::Tensor sin = at::empty({time, half}, at::kFloat);
  for (int64_t i = 0; i < half; ++i) {
    for (int64_t t = 0; t < time; ++t) {
      const double angle = static_cast<double>(t) * frequencies[static_cast<size_t>(i)];
      cos.mutable_data_ptr<float>()[t * half + i] = static_cast<float>(magnitude * std::cos(angle));
      sin.mutable_data_ptr<float>()[t * half + i] = static_cast<float>(magnitude * std::sin(angle));
    }
  }
  return {.cos = cos.to(device), .sin = sin.to(device), .rest = rest};
}

at::Tensor make_position_table(config::AttentionKind kind, const config::PositionConstants& constants,
                               int64_t count, at::Device device) {
  if (!config::has_row_scale(kind)) return {};
  const at::Tensor table = at::empty({count}, at::kFloat);
  for (int64_t n = 1; n <= count; ++n) {
    table.mutable_data_ptr<float>()[n - 1] = static_cast<float>(config::initial_position(kind, constants, n));
  }
  return table.to(device);
}

}  // namespace ssgpt::model
