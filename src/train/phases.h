// The phases of a step and of the loop around it, for which the trainer reports the time spent.
#pragma once

#include "metrics/meters.h"

#include <cstddef>

namespace ssgpt::train {

enum class Phase : size_t { kFetch, kForwardBackward, kReduce, kClip, kUpdate, kEvaluate, kCheckpoint };
metrics::PhaseTimers make_phase_timers();

// Logs one line with each phase's share of the loop's time. On a GPU, where host time only shows how long
// work took to be queued, logs the time of those phases that wait for the device.
void log_phase_times(const metrics::PhaseTimers& timers, bool on_gpu);

}  // namespace ssgpt::train
