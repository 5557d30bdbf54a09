#include "evaluation/closed_forms.h"

#include "core/error.h"
#include "data/synthetic.h"
#include "evaluation/rising.h"
#include "kernels/ops.h"
#include "model/attention_statistics.h"
#include "model/rope.h"

#include <algorithm>
#include <cmath>
#include <string_view>

#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <fmt/format.h>

namespace ssgpt::evaluation {
namespace {

// As for a window: the table of log n has an entry for each n.
constexpr int64_t kLargestN = data::kMaxSyntheticLength;
constexpr int kStepsOfMaximum = 100;
// So that s and b are fp32 numbers that do not round to 0, and everything plotted is finite.
constexpr double kSmallestScale = 1e-6;
constexpr double kLargestNumber = 1e6;

// NaN is refused as well.
void check_number(std::string_view option, double value, double least, double most) {
  if (!(value >= least && value <= most))
    throw core::UsageError("{} {}: it must be a number from {} to {}.", option, value, least, most);
}

void check_constants(const config::PositionConstants& constants) {
  const auto check_count = [](std::string_view option, int64_t value, int64_t least, int64_t most) {
    if (value < least || value > most)
      throw core::UsageError("{} {}: it must be from {} to {}.", option, value, least, most);
  };
  check_count("--trained-length", constants.trained_length, 2, kLargestN);
  check_count("--floor-scale", constants.floor_scale, 1, config::kMaxFloorScale);
  if (!config::is_attn_scale(constants.attn_scale)) {
    throw core::UsageError("--attn-scale {}: a must be above 0 and at most {}.", constants.attn_scale,
                           config::kMaxAttnScale);
  }
}

void check_options(const ClosedFormOptions& options) {
  if (options.kinds.empty()) throw core::UsageError("--kinds: name one kind of attention or more.");
  for (size_t i = 0; i < options.kinds.size(); ++i) {
    const config::AttentionKind kind = options.kinds[i];
    if (std::count(options.kinds.begin(), options.kinds.end(), kind) > 1)
      throw core::UsageError("--kinds: {} is listed twice; name each once.", config::to_string(kind));
    if (config::has_learned_position(kind)) {
      throw core::UsageError("--kinds {}: its p_n is learned, so it has no closed form.",
                             config::to_string(kind));
    }
  }
  check_number("--scale", options.scale, kSmallestScale, kLargestNumber);
  check_number("--bias", options.bias, -kLargestNumber, kLargestNumber);
  check_number("--high", options.high, -kLargestNumber, kLargestNumber);
  check_number("--low", options.low, -kLargestNumber, kLargestNumber);
  if (options.high <= options.low) {
    throw core::UsageError("--high {} --low {}: the first must be above the second.", options.high,
                           options.low);
  }
  check_constants(options.constants);
  if (!options.lengths.empty()) check_rising("--lengths", options.lengths, 1, kLargestN);
  check_rising("--sizes", options.sizes, 3, kLargestN);
}

// c(n) of one head of a new model of this kind, with the given s and b, for each n.
std::vector<double> row_scales(config::AttentionKind kind, const ClosedFormOptions& options,
                               const std::vector<int64_t>& counts) {
  const auto one_head = [](double value) {
    return at::full({1}, value, at::kFloat);
  };
  const auto size = static_cast<int64_t>(counts.size());
  kernels::RowScale row_scale;
  row_scale.position = model::make_position_table(kind, options.constants, counts.back(), at::kCPU);
  if (config::has_scale(kind)) row_scale.scale = one_head(options.scale);
  if (config::has_bias(kind)) row_scale.bias = one_head(options.bias);
  const at::Tensor num_keys = at::empty({size}, at::kInt);
  for (int64_t i = 0; i < size; ++i)
    num_keys.mutable_data_ptr<int32_t>()[i] = static_cast<int32_t>(counts[static_cast<size_t>(i)]);
  const kernels::Rotation none = model::make_rotation(/*time=*/1, /*rotated_dims=*/0, 10000.0, at::kCPU);
  const at::Tensor factors = model::score_factors(row_scale, none, /*num_heads=*/1, /*head_dim=*/2, num_keys);
  const float* values = factors.const_data_ptr<float>();
  return std::vector<double>(values, values + size);
}

// The softmax weight of exp(own) next to others whose sum is exp(log_of_others).
double weight_beside(double own, double log_of_others) {
  return 1.0 / (1.0 + std::exp(log_of_others - own));
}

// log of the sum over i = 0 ... n - 2 of exp(c i / (n - 2)).
double log_of_spread(double c, int64_t n) {
  const double largest = std::max(c, 0.0);  // largest exponent
  double sum = 0.0;
  for (int64_t i = 0; i <= n - 2; ++i)
    sum += std::exp(c * static_cast<double>(i) / static_cast<double>(n - 2) - largest);
  return largest + std::log(sum);
}

}  // namespace

std::vector<int64_t> default_lengths() {
  constexpr int kDecades = 5;
  constexpr int kPerDecade = 12;
  std::vector<int64_t> lengths;
  for (int i = 0; i <= kDecades * kPerDecade; ++i) {
    const int64_t n = std::llround(std::pow(10.0, static_cast<double>(i) / kPerDecade));
    if (lengths.empty() || n > lengths.back()) lengths.push_back(n);
  }
  return lengths;
}

report::ClosedForms compute_closed_forms(const ClosedFormOptions& options) {
  check_options(options);
  report::ClosedForms forms{.scale = options.scale,
                            .bias = options.bias,
                            .constants = options.constants,
                            .high = options.high,
                            .low = options.low,
                            .lengths = options.lengths.empty() ? default_lengths() : options.lengths,
                            .fading = {},
                            .maxima = {},
                            .focus = {}};
  for (int i = 0; i <= kStepsOfMaximum; ++i)
    forms.maxima.push_back((1.0 + 2.0 / options.scale) * static_cast<double>(i) / kStepsOfMaximum);
  for (const config::AttentionKind kind : options.kinds) {
    const config::AttentionKindRow& row = config::row_of(kind);
    report::FadingCurve& fading = forms.fading.emplace_back();
    fading.attention = row.name;
    fading.row_scale = row.row_scale;
    fading.factors = row_scales(kind, options, forms.lengths);
    for (size_t i = 0; i < forms.lengths.size(); ++i) {
      const double c = fading.factors[i];
      const double others = std::log(static_cast<double>(forms.lengths[i] - 1));  // none: minus infinity
      fading.weights.push_back(weight_beside(c * options.high, c * options.low + others));
    }
    const std::vector<double> factors = row_scales(kind, options, options.sizes);
    for (size_t i = 0; i < options.sizes.size(); ++i) {
      report::FocusCurve& focus = forms.focus.emplace_back();
      focus.attention = row.name;
      focus.row_scale = row.row_scale;
      focus.n = options.sizes[i];
      focus.factor = factors[i];
      const double others = log_of_spread(focus.factor, focus.n);
      for (const double maximum : forms.maxima)
        focus.weights.push_back(weight_beside(focus.factor * maximum, others));
    }
  }
  return forms;
}

}  // namespace ssgpt::evaluation
