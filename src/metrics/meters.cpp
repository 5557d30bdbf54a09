#include "metrics/meters.h"

#include "core/check.h"

#include <algorithm>
#include <cmath>
#include <utility>

namespace ssgpt::metrics {

SmoothedMean::SmoothedMean(double decay) : decay_(decay) {
  SSGPT_CHECK(decay >= 0.0 && decay < 1.0, "the decay of a smoothed mean is {}, outside [0, 1)", decay);
}

void SmoothedMean::add(double value) {
  if (!std::isfinite(value)) return;
  state_.weight = decay_ * state_.weight + (1.0 - decay_);
  state_.value += (1.0 - decay_) / state_.weight * (value - state_.value);
}

std::optional<double> SmoothedMean::value() const {
  if (state_.weight == 0.0) return std::nullopt;
  return state_.value;
}

ThroughputMeter::ThroughputMeter(double window_seconds) : window_seconds_(window_seconds) {}

void ThroughputMeter::start(Clock::time_point now) {
  last_ = now;
  paused_ = false;
  steps_.clear();
  seconds_ = 0.0;
  tokens_ = 0;
  count_ = 0;
}

void ThroughputMeter::add(int64_t tokens, Clock::time_point now, int64_t num_steps) {
  SSGPT_CHECK(!paused_, "a training step ended while the throughput meter was paused");
  const double seconds = std::max(0.0, std::chrono::duration<double>(now - last_).count());
  last_ = now;
  steps_.push_back({.count = num_steps, .tokens = tokens, .seconds = seconds});
  seconds_ += seconds;
  tokens_ += tokens;
  count_ += num_steps;
  while (steps_.size() > 1 && seconds_ - steps_.front().seconds >= window_seconds_) {
    seconds_ -= steps_.front().seconds;
    tokens_ -= steps_.front().tokens;
    count_ -= steps_.front().count;
    steps_.pop_front();
  }
}

void ThroughputMeter::pause(Clock::time_point now) {
  SSGPT_CHECK(!paused_, "the throughput meter is paused already");
  paused_ = true;
  paused_at_ = now;
}

void ThroughputMeter::resume(Clock::time_point now) {
  SSGPT_CHECK(paused_, "the throughput meter is not paused");
  paused_ = false;
  last_ += now - paused_at_;
}

std::optional<double> ThroughputMeter::tokens_per_second() const {
  if (steps_.empty() || seconds_ <= 0.0) return std::nullopt;
  return static_cast<double>(tokens_) / seconds_;
}

std::optional<double> ThroughputMeter::seconds_per_step() const {
  if (steps_.empty()) return std::nullopt;
  return seconds_ / static_cast<double>(count_);
}

double model_flops_utilization(double tokens_per_second, double flops_per_token, double peak_flops) {
  SSGPT_CHECK(peak_flops > 0.0, "the device's peak is {} FLOP/s, not positive", peak_flops);
  return tokens_per_second * flops_per_token / peak_flops;
}

PhaseTimers::PhaseTimers(std::vector<std::string> names)
    : names_(std::move(names)), seconds_(names_.size(), 0.0) {}

void PhaseTimers::add(size_t phase, double seconds) {
  SSGPT_CHECK(phase < names_.size(), "phase {} of {}", phase, names_.size());
  seconds_[phase] += seconds;
}

}  // namespace ssgpt::metrics
