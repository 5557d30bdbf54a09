// What the trainer tells people before and after the loop.
#pragma once

#include "metrics/meters.h"
#include "train/data_sources.h"
#include "train/run_plan.h"

#include <cstdint>
#include <string>

namespace ssgpt::train {

// A table of what will run: model, attention, data, batch, optimizer, precision, memory, token budget. Device
// and dtype are resolved.
std::string start_text(const RunPlan& plan, const DataSources& sources);

// One line: the share of each phase in the time of the loop.
void log_phase_times(const metrics::PhaseTimers& timers);

}  // namespace ssgpt::train
