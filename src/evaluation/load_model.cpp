#include "evaluation/load_model.h"

#include "checkpoint/checkpoint.h"
#include "core/check.h"
#include "core/error.h"
#include "start/choose_device.h"

#include <algorithm>
#include <cmath>
#include <string_view>
#include <utility>
#include <vector>

#include <ATen/ops/from_blob.h>

namespace ssgpt::evaluation {
namespace {

constexpr std::string_view kPosition = "model.ssmax_position";

// The layout with only the first `length` entries of p_n, if it has one.
std::vector<model::Parameter> with_positions(std::vector<model::Parameter> layout, int64_t length) {
  for (model::Parameter& parameter : layout) {
    if (parameter.spec.name == kPosition) {
      parameter.spec.shape = {length};
      parameter.numel = length;
    }
  }
  return layout;
}

std::span<const float> position_of(const checkpoint::FlatState& flat) {
  const auto found = std::find_if(flat.layout.begin(), flat.layout.end(),
                                  [](const auto& parameter) { return parameter.spec.name == kPosition; });
  SSGPT_CHECK(found != flat.layout.end(), "there is no {}", kPosition);
  return {flat.master.const_data_ptr<float>() + found->offset, static_cast<size_t>(found->numel)};
}

// Applies the overrides that change the model's function, except for the attention kind.
void change_positions(const Overrides& overrides, model::GPTSpec& spec) {
  if (overrides.rope_theta) spec.config.rope_theta = *overrides.rope_theta;
  spec.rope_change.score_factor = overrides.row_scale.value_or(1.0);
  if (!overrides.yarn_factor) return;
  spec.rope_change.yarn =
      model::Yarn{.factor = *overrides.yarn_factor, .trained_length = spec.sequence_length};
}

model::Execution execution_of(const model::GPTSpec& spec, const Placement& placement) {
  config::Config config;
  config.model = spec.config;
  config.data.sequence_length = spec.sequence_length;
  config.data.reset_at_document = spec.document_token_id.has_value();
  config.train.device = placement.device;
  config.train.dtype = placement.bfloat16 ? config::Dtype::kBfloat16 : config::Dtype::kFloat32;
  start::resolve_by_rules(config);
  config::AttentionBackend& backend = config.train.attention_backend;
  if (backend == config::AttentionBackend::kAuto) backend = config::AttentionBackend::kFlash;  // unmeasured
  model::Execution execution = start::execution_of(config.train);
  execution.for_training = false;
  return execution;
}

// Fills entries [trained, length) of p_n in fp32.
void fill_from_fit(const PnFit& fit, int64_t length, const model::ParameterStore& parameters) {
  std::vector<float> values;
  for (int64_t n = fit.entries + 1; n <= length; ++n) {
    values.push_back(static_cast<float>(fit.a1 * std::log(static_cast<double>(n)) + fit.a2));
  }
  const auto count = static_cast<int64_t>(values.size());
  parameters.master(kPosition)
      .narrow(0, fit.entries, count)
      .copy_(at::from_blob(values.data(), {count}, at::kFloat));
}

}  // namespace

PnFit fit_position(std::span<const float> position) {
  SSGPT_CHECK(position.size() >= 2, "a line through {} entries of p_n", position.size());
  const auto count = static_cast<double>(position.size());
  const auto log_of = [](size_t i) {
    return std::log(static_cast<double>(i + 1));
  };
  double mean_log = 0.0;
  double mean = 0.0;
  for (size_t i = 0; i < position.size(); ++i) {
    mean_log += log_of(i) / count;
    mean += static_cast<double>(position[i]) / count;
  }
  double products = 0.0;
  double squares = 0.0;
  for (size_t i = 0; i < position.size(); ++i) {
    const double distance = log_of(i) - mean_log;
    products += distance * (static_cast<double>(position[i]) - mean);
    squares += distance * distance;
  }
  PnFit fit{.a1 = products / squares, .a2 = 0.0, .entries = static_cast<int64_t>(position.size())};
  fit.a2 = mean - fit.a1 * mean_log;
  double sum_of_squares = 0.0;
  for (size_t i = 0; i < position.size(); ++i) {
    const double residual = static_cast<double>(position[i]) - (fit.a1 * log_of(i) + fit.a2);
    sum_of_squares += residual * residual;
    fit.max_residual = std::max(fit.max_residual, std::abs(residual));
  }
  fit.rms_residual = std::sqrt(sum_of_squares / count);
  return fit;
}

LoadedModel load_model(const std::filesystem::path& checkpoint, const LoadOptions& options) {
  const Overrides& overrides = options.overrides;
  check_overrides(overrides);
  checkpoint::Snapshot snapshot = checkpoint::read(checkpoint, /*with_optimizer=*/false);
  if (overrides.attention && *overrides.attention != snapshot.spec.config.attention.kind) {
    config::AttentionConfig attention = snapshot.spec.config.attention;
    attention.kind = *overrides.attention;
    snapshot = checkpoint::with_attention(snapshot, attention);
  }
  model::GPTSpec spec = snapshot.spec;
  const int64_t trained_length = spec.sequence_length;
  const int64_t sequence_length = options.sequence_length.value_or(trained_length);
  check_windows(checkpoint, spec, overrides, sequence_length);
  change_positions(overrides, spec);
  spec.trained_length = trained_length;
  spec.sequence_length = sequence_length;
  LoadedModel loaded{.model = nullptr,
                     .trainer = snapshot.trainer,
                     .trained_length = trained_length,
                     .rope_theta = spec.config.rope_theta,
                     .pn_fit = {}};
  if (config::has_learned_position(spec.config.attention.kind) && spec.sequence_length > trained_length) {
    loaded.pn_fit = fit_position(position_of(snapshot.flat));
  }
  loaded.model = std::make_unique<model::GPT>(spec, execution_of(spec, options.placement));
  model::ParameterStore& parameters = loaded.model->parameters();
  const int64_t shared_positions = std::min(trained_length, spec.sequence_length);
  snapshot.flat.layout = with_positions(std::move(snapshot.flat.layout), shared_positions);
  const checkpoint::FlatState target{.layout = with_positions(parameters.parameters(), shared_positions),
                                     .master = parameters.flat_master(),
                                     .exp_avg = {},
                                     .exp_avg_sq = {}};
  checkpoint::load_into(snapshot.flat, target);
  if (loaded.pn_fit) fill_from_fit(*loaded.pn_fit, spec.sequence_length, parameters);
  parameters.refresh_compute();
  return loaded;
}

}  // namespace ssgpt::evaluation
