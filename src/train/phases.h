// The phases of a step and of the loop around it, by which the trainer reports where time went.
#pragma once

#include "metrics/meters.h"

#include <cstddef>

namespace ssgpt::train {

enum class Phase : size_t { kFetch, kForwardBackward, kReduce, kClip, kUpdate, kEvaluate, kCheckpoint };
metrics::PhaseTimers make_phase_timers();

// One line: the share of each phase in the time of the loop. On a GPU, where the host's time says how long
// work took to be queued, what the phases took that wait for the device.
void log_phase_times(const metrics::PhaseTimers& timers, bool on_gpu);

}  // namespace ssgpt::train
