// What the trainer tells people before and after the loop.
#pragma once

#include "config/config.h"
#include "metrics/meters.h"
#include "model/accounting.h"
#include "train/data_sources.h"
#include "train/run_plan.h"

#include <cstdint>
#include <string>

namespace ssgpt::train {

// Bytes of the process's resident set at its largest.
struct MemoryPlan {
  uint64_t program = 0;  // libraries, threads, the buffers of the matrix products: measured in this process
  model::MemoryEstimate training;
  uint64_t total() const { return program + static_cast<uint64_t>(training.total()); }
  uint64_t without_snapshot() const {
    return total() - static_cast<uint64_t>(training.snapshot + training.swap);
  }
};

// Of rank 0, which holds the most, of `num_ranks`. Device and dtype are resolved. Allocates a few megabytes
// for a moment, whatever the config.
MemoryPlan plan_memory(const config::Config& config, int64_t num_ranks);

// A table of what will run: model, attention, data, batch, optimizer, precision, memory, token budget. Device
// and dtype are resolved.
std::string start_text(const RunPlan& plan, const DataSources& sources, int64_t num_ranks);

// One line: the share of each phase in the time of the loop.
void log_phase_times(const metrics::PhaseTimers& timers);

}  // namespace ssgpt::train
