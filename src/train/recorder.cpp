#include "train/recorder.h"

#include "core/error.h"
#include "core/log.h"
#include "core/progress.h"
#include "metrics/console.h"
#include "model/accounting.h"
#include "model/device_timing.h"
#include "start/choose_device.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <numeric>
#include <string_view>
#include <utility>

#include <ATen/TensorOperators.h>
#include <ATen/ops/isfinite.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros.h>
#include <fmt/format.h>

namespace ssgpt::train {
namespace {

constexpr int64_t kLossSum = 0;
constexpr int64_t kLossCount = 1;
constexpr int64_t kFirstBadStep = 2;

// A logged loss this far above the smoothed one (nats; the perplexity is e times as high) is called a spike,
// once the smoothed loss rests on enough lines.
constexpr double kSpikeNats = 1.0;
constexpr double kSpikeMinimumWeight = 0.3;

// Sums in the same order on every rank, with or without a save in between.
double sum_in_order(const std::vector<double>& parts) {
  return std::accumulate(parts.begin(), parts.end(), 0.0);
}

// This rank's own part; if another number of ranks saved the parts, rank 0 continues from their sum.
double own_part(const std::vector<double>& parts, const parallel::Communicator& communicator) {
  if (static_cast<int64_t>(parts.size()) == communicator.world_size()) {
    return parts[static_cast<size_t>(communicator.rank())];
  }
  return communicator.is_main() ? sum_in_order(parts) : 0.0;
}

// FLOPs of the steps after `first_step`.
double flops_to_come(const config::Config& config, int64_t first_step) {
  const auto steps = static_cast<double>(config.train.max_steps - first_step);
  const auto step_tokens = static_cast<double>(config.train.global_batch_size * config.data.sequence_length);
  return steps * step_tokens * model::flops_per_token(config.model, config.data.sequence_length);
}

std::string of_ranks(const parallel::Communicator& communicator) {
  const int64_t count = communicator.world_size();
  return count > 1 ? fmt::format(" on {} ranks together", count) : "";
}

std::string on_one_line(std::string_view text) {
  std::string line;
  for (const char character : text) {
    if (character == '\n') {
      line += "\\n";
    } else if (static_cast<unsigned char>(character) >= 0x20) {
      line += character;
    }
  }
  return line;
}

double seconds_since_epoch() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

}  // namespace

Recorder::Recorder(const config::Config& config, const model::GPT& model, const run::RunDirectory& directory,
                   const checkpoint::TrainerState& state, bool has_earlier_points,
                   parallel::Communicator& communicator)
    : config_(config),
      communicator_(communicator),
      execution_(model.execution()),
      flops_per_token_(model::flops_per_token(config.model, config.data.sequence_length)),
      measures_product_(start::is_worth_measuring(flops_to_come(config, state.step), execution_.device)),
      gemm_share_([this] { return measure_product(); }),
      spec_sheet_flops_(start::spec_sheet_flops(config.train, communicator)),
      live_(communicator.is_main() && core::stderr_is_terminal()),
      figures_({.max_steps = config.train.max_steps}),
      meters_(at::zeros({3}, at::TensorOptions(model.execution().device).dtype(at::kDouble))),
      step_(state.step),
      tokens_(state.tokens),
      last_line_step_(state.last_line_step) {
  smoothed_.restore({.value = state.smoothed_loss, .weight = state.smoothed_weight});
  meters_.select(0, kLossSum).fill_(own_part(state.loss_sums, communicator));
  meters_.select(0, kLossCount).fill_(static_cast<double>(state.loss_steps));
  if (!communicator.is_main()) return;
  metrics_ = std::make_unique<run::LineWriter>(directory.metrics());
  if (config.log.tensorboard) {
    tensorboard_ =
        std::make_unique<metrics::TensorBoardSink>(directory.path(), has_earlier_points ? state.step : -1);
    tensorboard_->write_text(state.step, "config", fmt::format("```yaml\n{}```", config::dump(config)));
  }
  if (!config.evaluate.samples.prompts.empty()) {
    samples_ = std::make_unique<run::LineWriter>(directory.samples());
  }
  if (spec_sheet_flops_) {
    core::log::info("MFU counts {:.1f} MFLOP per token against {:.0f} TFLOP/s, the peak of the spec sheet{}.",
                    flops_per_token_ * 1e-6, *spec_sheet_flops_ * 1e-12, of_ranks(communicator));
  }
}

void Recorder::start() {
  throughput_.start();
  // On a GPU, measured before the first step allocates its memory: that of the GEMM is released again.
  if (measures_product_ && !execution_.device.is_cpu()) gemm_share_.prepare();
  live_.start();
}

bool Recorder::line_due(int64_t step) const {
  return step % config_.log.every == 0 || step == config_.train.max_steps;
}

void Recorder::record(const StepResult& result, model::GPT& model) {
  step_ = result.step;
  tokens_ += result.tokens;
  const at::Tensor finite = at::isfinite(result.update_factor);
  const at::Tensor mean_loss = result.loss_sum / static_cast<double>(result.tokens);
  meters_.slice(0, kLossSum, kLossSum + 1).add_(at::where(finite, mean_loss, 0.0));
  meters_.slice(0, kLossCount, kLossCount + 1).add_(finite);
  at::Tensor first_bad = meters_.slice(0, kFirstBadStep, kFirstBadStep + 1);
  first_bad.copy_(at::where(finite.logical_or(first_bad > 0), first_bad, static_cast<double>(result.step)));
  ++uncounted_steps_;
  uncounted_tokens_ += result.window_tokens;
  live_.add(result.window_tokens);
  if (meters_.is_cpu() || line_due(result.step)) count_finished_steps();
  if (line_due(result.step)) add_training_figures(result, model);
}

// Waits for the device before reading the clock.
void Recorder::count_finished_steps() {
  if (uncounted_steps_ == 0) return;
  model::synchronize(meters_.device());
  throughput_.add(uncounted_tokens_, metrics::ThroughputMeter::Clock::now(), uncounted_steps_);
  uncounted_steps_ = 0;
  uncounted_tokens_ = 0;
}

// The device may still be training: that work counts as training time.
void Recorder::pause() {
  count_finished_steps();
  throughput_.pause();
  live_.pause();
}

void Recorder::resume() {
  throughput_.resume();
  live_.resume();
}

void Recorder::add_training_figures(const StepResult& result, model::GPT& model) {
  check_finite();
  const double sum = sum_in_order(communicator_.gather_double(meters_.select(0, kLossSum).item<double>()));
  const auto count = meters_.select(0, kLossCount).item<double>();
  has_line_ = true;
  auto& values = line_.values;
  if (count > 0) {
    const double loss = sum / count;
    warn_of_spike(loss, result.step);
    smoothed_.add(loss);
    values.emplace_back("train/loss", loss);
    if (last_line_step_) line_.steps = run::StepRange{.first = *last_line_step_ + 1, .last = result.step};
    last_line_step_ = result.step;
  }
  meters_.slice(0, kLossSum, kLossCount + 1).zero_();
  values.emplace_back("train/lr", result.learning_rate);
  values.emplace_back("train/grad_norm", result.grad_norm.item<double>());
  add_speed();
  const std::vector<double> scales = model.mean_attention_scales();
  for (size_t layer = 0; layer < scales.size(); ++layer) {
    values.emplace_back(fmt::format("attention/scale/{}", layer), scales[layer]);
  }
}

// Rank 0's speed on all ranks: their clocks differ, and all must take the same decision whether to measure.
void Recorder::add_speed() {
  const double speed = communicator_.gather_double(throughput_.tokens_per_second().value_or(0.0)).front();
  if (speed <= 0.0) return;
  line_.values.emplace_back("train/tokens_per_second", speed);
  if (measures_product_) {
    if (const double share = gemm_share_.of(speed * flops_per_token_); share > 0.0) {
      line_.values.emplace_back("train/gemm_share", share);
    }
  }
  if (spec_sheet_flops_) {
    line_.values.emplace_back("train/mfu",
                              metrics::model_flops_utilization(speed, flops_per_token_, *spec_sheet_flops_));
  }
}

// Called on all ranks together. Its time does not count as training time.
double Recorder::measure_product() {
  pause();
  const std::vector<double> flops =
      communicator_.gather_double(start::measure_peak_flops_if_room(execution_));
  resume();
  const bool everywhere = std::find(flops.begin(), flops.end(), 0.0) == flops.end();
  const double sum = everywhere ? sum_in_order(flops) : 0.0;
  if (communicator_.is_main() && everywhere) {
    core::log::info("Step {}: a large GEMM reaches {:.0f} GFLOP/s{}; training does {:.1f} MFLOP per token.",
                    step_, sum * 1e-9, of_ranks(communicator_), flops_per_token_ * 1e-6);
  }
  return sum;
}

void Recorder::check_finite() {
  at::Tensor first_bad = meters_.select(0, kFirstBadStep);
  const auto step = static_cast<int64_t>(first_bad.item<double>());
  if (step == 0) return;
  first_bad.zero_();
  if (config_.train.on_nonfinite == config::OnNonfinite::kSkip) {
    if (communicator_.is_main()) {  // all ranks find the same
      core::log::warning("Step {}: the loss or the gradient norm is not finite; its update was skipped.",
                         step);
    }
    return;
  }
  throw core::RunError(
      "Step {}: the loss or the gradient norm is not finite. The weights were not updated by it and "
      "nothing was saved after it; the last good checkpoint is untouched. A lower optimizer.lr or a "
      "longer warm-up often helps; train.on_nonfinite: skip leaves such steps out and continues.",
      step);
}

void Recorder::warn_of_spike(double loss, int64_t step) {
  const std::optional<double> smoothed = smoothed_.value();
  if (!smoothed || smoothed_.state().weight < kSpikeMinimumWeight || loss < *smoothed + kSpikeNats) return;
  const std::string message =
      fmt::format("Step {}: the loss spiked to {:.4f}, {:.2f} nats above its smoothed value.", step, loss,
                  loss - *smoothed);
  if (config_.train.on_spike == config::OnSpike::kStop) {
    throw core::RunError("{} train.on_spike: stop ends the run here; the last checkpoint is from before.",
                         message);
  }
  if (communicator_.is_main()) core::log::warning("{}", message);
}

void Recorder::record_validation(const WindowLoss& validation, const std::string& data) {
  has_line_ = true;
  line_.validation_data = data;
  line_.values.emplace_back("validation/loss", validation.loss);
}

void Recorder::record_samples(const std::vector<TextSample>& samples) {
  for (size_t i = 0; i < samples.size(); ++i) {
    const TextSample& sample = samples[i];
    core::log::info("Step {}: \"{}\" ->{}{}", step_, on_one_line(sample.prompt),
                    sample.text.starts_with(' ') ? "" : " ", on_one_line(sample.text));
    samples_->write(run::SampleLine{.step = step_, .prompt = sample.prompt, .text = sample.text});
    if (tensorboard_) {
      // Shown as a Markdown code block, which keeps blanks and line breaks.
      tensorboard_->write_text(step_, fmt::format("samples/{}", i),
                               fmt::format("~~~~~~~~\n{}{}\n~~~~~~~~", sample.prompt, sample.text));
    }
  }
}

void Recorder::finish_step(bool notable) {
  if (has_line_) write_line(notable);
  core::log::require_written();
  live_.draw(figures_, step_);
}

void Recorder::write_line(bool notable) {
  line_.step = step_;
  line_.tokens = tokens_;
  line_.time = seconds_since_epoch();
  if (metrics_) metrics_->write(line_);
  if (tensorboard_) {
    tensorboard_->write(line_);
    tensorboard_->flush();
  }
  metrics::ConsoleFigures figures{.step = step_, .max_steps = config_.train.max_steps};
  figures.smoothed_loss = smoothed_.value();
  for (const auto& [name, value] : line_.values) {
    if (name == "train/loss") figures.loss = value;
    if (name == "train/lr") figures.lr = value;
    if (name == "train/grad_norm") figures.grad_norm = value;
    if (name == "train/tokens_per_second") figures.tokens_per_second = value;
    if (name == "train/gemm_share") figures.gemm_share = value;
    if (name == "train/mfu") figures.mfu = value;
    if (name == "validation/loss") figures.validation_loss = value;
  }
  if (const auto seconds = throughput_.seconds_per_step()) {
    figures.eta_seconds = *seconds * static_cast<double>(config_.train.max_steps - step_);
  }
  const std::string text = metrics::format_console_line(figures);
  if (live_.line_stays(notable || figures.validation_loss.has_value())) {
    core::log::info("{}", text);
  } else {
    core::log::write_to_file(text);
  }
  figures_.update(figures);
  line_ = {};
  has_line_ = false;
}

void Recorder::save_state(checkpoint::TrainerState& state) {
  state.step = step_;
  state.tokens = tokens_;
  state.last_line_step = last_line_step_;
  state.loss_sums = communicator_.gather_double(meters_.select(0, kLossSum).item<double>());
  state.loss_steps = static_cast<int64_t>(meters_.select(0, kLossCount).item<double>());
  state.smoothed_loss = smoothed_.state().value;
  state.smoothed_weight = smoothed_.state().weight;
}

void Recorder::flush() {
  if (metrics_) metrics_->sync();
  if (samples_) samples_->sync();
  if (tensorboard_) tensorboard_->flush();
}

}  // namespace ssgpt::train
