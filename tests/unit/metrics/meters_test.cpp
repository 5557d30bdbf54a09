#include "metrics/meters.h"

#include "core/check.h"

#include <chrono>
#include <cmath>
#include <limits>
#include <vector>

#include <gtest/gtest.h>

namespace ssgpt::metrics {
namespace {

using std::chrono::duration_cast;
using Clock = ThroughputMeter::Clock;

Clock::time_point at(double time) {
  return Clock::time_point{} + duration_cast<Clock::duration>(std::chrono::duration<double>(time));
}

TEST(SmoothedMean, EqualsTheClosedFormOfTheCorrectedExponentialMean) {
  const double decay = 0.9;
  const std::vector<double> values = {3.0, -1.0, 4.0, 1.5, 9.25};
  SmoothedMean smoothed(decay);
  EXPECT_FALSE(smoothed.value().has_value());
  for (size_t t = 1; t <= values.size(); ++t) {
    smoothed.add(values[t - 1]);
    double sum = 0.0;
    for (size_t i = 0; i < t; ++i)
      sum += (1 - decay) * std::pow(decay, static_cast<double>(t - 1 - i)) * values[i];
    // A handful of roundings of float64.
    EXPECT_NEAR(smoothed.value().value(), sum / (1 - std::pow(decay, static_cast<double>(t))), 1e-13);
  }
}

TEST(SmoothedMean, PassesOverValuesThatAreNotFinite) {
  SmoothedMean smoothed;
  smoothed.add(2.0);
  smoothed.add(std::numeric_limits<double>::quiet_NaN());
  smoothed.add(std::numeric_limits<double>::infinity());
  EXPECT_EQ(smoothed.value(), 2.0);
}

TEST(Meters, ARestoredStateGoesOnBitForBit) {
  SmoothedMean whole(0.98);
  SmoothedMean first(0.98);
  for (int i = 0; i < 57; ++i) {
    whole.add(std::sin(i));
    first.add(std::sin(i));
  }
  SmoothedMean second(0.98);
  second.restore(first.state());
  for (int i = 57; i < 200; ++i) {
    whole.add(std::sin(i));
    second.add(std::sin(i));
  }
  EXPECT_EQ(whole.value(), second.value());
}

TEST(ThroughputMeter, LeavesOutPausesAndOldSteps) {
  ThroughputMeter meter(/*window_seconds=*/10.0);
  meter.start(at(0.0));
  EXPECT_FALSE(meter.tokens_per_second().has_value());
  meter.add(100, at(1.0));
  EXPECT_DOUBLE_EQ(meter.tokens_per_second().value(), 100.0);
  meter.pause(at(1.0));
  meter.resume(at(61.0));  // a validation of a minute
  meter.add(300, at(62.0));
  EXPECT_DOUBLE_EQ(meter.tokens_per_second().value(), 200.0);
  EXPECT_DOUBLE_EQ(meter.seconds_per_step().value(), 1.0);
  for (int i = 1; i <= 10; ++i) meter.add(50, at(62.0 + i));
  EXPECT_DOUBLE_EQ(meter.tokens_per_second().value(), 50.0);  // the first two steps fell out of the window
  meter.add(40, at(72.0 + 20.0));                             // one step longer than the window
  EXPECT_DOUBLE_EQ(meter.tokens_per_second().value(), 2.0);
}

// As on a GPU, where times are known only after waiting for the device.
TEST(ThroughputMeter, TakesSeveralStepsAtOnce) {
  ThroughputMeter meter(/*window_seconds=*/10.0);
  meter.start(at(0.0));
  meter.add(400, at(8.0), /*num_steps=*/4);
  EXPECT_DOUBLE_EQ(meter.tokens_per_second().value(), 50.0);
  EXPECT_DOUBLE_EQ(meter.seconds_per_step().value(), 2.0);
  meter.add(600, at(14.0), /*num_steps=*/6);
  EXPECT_DOUBLE_EQ(meter.seconds_per_step().value(), 1.4);
  meter.add(500, at(19.0), /*num_steps=*/5);  // the first four fell out of the window, together
  EXPECT_DOUBLE_EQ(meter.tokens_per_second().value(), 100.0);
  EXPECT_DOUBLE_EQ(meter.seconds_per_step().value(), 1.0);
}

TEST(ThroughputMeter, RefusesAStepWhilePaused) {
  ThroughputMeter meter;
  meter.start(at(0.0));
  meter.pause(at(1.0));
  EXPECT_THROW(meter.add(1, at(2.0)), core::InternalError);
}

TEST(PhaseTimers, AddUpByPhase) {
  PhaseTimers timers({"forward", "backward"});
  timers.add(1, 0.25);
  timers.add(1, 0.5);
  { const PhaseTimers::Scope scope(timers, 0); }
  EXPECT_EQ(timers.name(1), "backward");
  EXPECT_DOUBLE_EQ(timers.seconds(1), 0.75);
  EXPECT_GE(timers.seconds(0), 0.0);
}

TEST(ModelFlopsUtilization, IsTheShareOfThePeak) {
  EXPECT_DOUBLE_EQ(
      model_flops_utilization(/*tokens_per_second=*/1e5, /*flops_per_token=*/1e9, /*peak_flops=*/4e14), 0.25);
}

}  // namespace
}  // namespace ssgpt::metrics
