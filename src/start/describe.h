// Describes a run to the user before it trains.
#pragma once

#include "config/config.h"
#include "device/gpu.h"
#include "model/accounting.h"
#include "start/start.h"

#include <cstdint>
#include <optional>
#include <string>

namespace ssgpt::start {

// Peak bytes of the memory that training fills: on a CPU the process's resident set, on a GPU what ATen's
// allocator holds there.
struct MemoryPlan {
  bool on_gpu = false;
  // Libraries, threads, GEMM buffers: measured in this process. Not counted for a run on a GPU, where they
  // are in host memory, as are a checkpoint's snapshot and a swap.
  uint64_t program = 0;
  model::MemoryEstimate training;
  uint64_t without_snapshot() const {
    return program + static_cast<uint64_t>(training.parameters + training.activations);
  }
  uint64_t total() const {
    return without_snapshot() + (on_gpu ? 0 : static_cast<uint64_t>(training.snapshot + training.swap));
  }
};

// Plans for rank 0, which needs the most of `num_ranks`. Device, dtype and attention backend must be
// resolved. On a CPU it allocates a few megabytes temporarily, whatever the config. `spans`: as for
// model::estimate_memory. held_bytes: of weights that this process holds already, which training does not
// hold in addition to those of the estimate.
MemoryPlan plan_memory(const config::Config& config, int64_t num_ranks, std::optional<int64_t> spans = {},
                       uint64_t held_bytes = 0);
// Plans for the remaining steps of the run, whose model must not be allocated yet.
MemoryPlan plan_memory(const Start& start, int64_t num_ranks);

std::string memory_text(const MemoryPlan& memory);

// Warning for a GPU with fewer bytes left than the plan needs; nullopt if they suffice.
std::optional<std::string> memory_warning(const MemoryPlan& memory, uint64_t free_bytes);

// "RoPE, theta 10000, on 8 of the 16 dimensions of a head, not in layers 1, 3 (from 0)".
std::string positions_text(const config::ModelConfig& model);

// A table of what will run: model, attention, data, batch, optimizer, precision, memory, token budget. For
// `num_ranks` processes.
std::string start_text(const Start& start, int64_t num_ranks);

// "8 ranks, each cpu, 2 threads, float32".
std::string compute_text(const config::Config& config, int64_t num_ranks,
                         const std::optional<device::GpuDescription>& gpu);

// The output of --dry-run: the resolved config, parameters, memory and token budget for each of `num_ranks`
// processes. Throws core::UsageError if the global batch does not divide evenly among them.
std::string describe(const Start& start, int64_t num_ranks);

}  // namespace ssgpt::start
