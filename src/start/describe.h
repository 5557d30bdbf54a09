// What people are told of a run before it trains.
#pragma once

#include "config/config.h"
#include "device/gpu.h"
#include "model/accounting.h"
#include "start/start.h"

#include <cstdint>
#include <optional>
#include <string>

namespace ssgpt::start {

// Bytes of the memory that training fills, at its largest: on a CPU the process's resident set, on a GPU what
// ATen's allocator holds there.
struct MemoryPlan {
  bool on_gpu = false;
  // Libraries, threads, the buffers of the matrix products: measured in this process. Of a GPU's run not
  // counted: it is in the memory of the host, as are a checkpoint's snapshot and a swap.
  uint64_t program = 0;
  model::MemoryEstimate training;
  uint64_t without_snapshot() const {
    return program + static_cast<uint64_t>(training.parameters + training.activations);
  }
  uint64_t total() const {
    return without_snapshot() + (on_gpu ? 0 : static_cast<uint64_t>(training.snapshot + training.swap));
  }
};

// Of rank 0, which holds the most, of `num_ranks`. Device, dtype and attention backend are resolved. On a CPU
// it allocates a few megabytes for a moment, whatever the config. `spans`: as for model::estimate_memory.
MemoryPlan plan_memory(const config::Config& config, int64_t num_ranks, std::optional<int64_t> spans = {});
// Of what the run has still to do.
MemoryPlan plan_memory(const Start& start, int64_t num_ranks);

std::string memory_text(const MemoryPlan& memory);

// What to tell where a GPU has fewer bytes left than the plan needs; none where they suffice.
std::optional<std::string> memory_warning(const MemoryPlan& memory, uint64_t free_bytes);

// "RoPE, theta 10000, on 8 of the 16 dimensions of a head, not in layers 1, 3 (from 0)".
std::string positions_text(const config::ModelConfig& model);

// A table of what will run: model, attention, data, batch, optimizer, precision, memory, token budget. Of
// `num_ranks` processes.
std::string start_text(const Start& start, int64_t num_ranks);

// "8 ranks, each cpu, 2 threads, float32".
std::string compute_text(const config::Config& config, int64_t num_ranks,
                         const std::optional<device::GpuDescription>& gpu);

// What --dry-run prints: the resolved config, parameters, memory, token budget of each of `num_ranks`
// processes. Throws core::UsageError where the global batch does not divide among them.
std::string describe(const Start& start, int64_t num_ranks);

}  // namespace ssgpt::start
