// Measures the training step as the trainer runs it: the same TrainingStep and loader, on random tokens. A
// GPU is waited for behind a group of steps, so that it has the next step queued as in training.
#pragma once

#include "bench/ceilings.h"
#include "bench/device_memory.h"
#include "config/config.h"
#include "core/profile.h"
#include "data/loader.h"
#include "data/sampler.h"
#include "data/token_source.h"
#include "metrics/meters.h"
#include "parallel/communicator.h"
#include "parallel/gradient_reduction.h"
#include "train/training_step.h"

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace ssgpt::bench {

// A model in training. Device and dtype of the config are resolved.
class StepRunner {
 public:
  // All ranks, with the communicator open; it outlives this.
  StepRunner(const config::Config& config, parallel::Communicator& communicator);

  // Takes the next step; its seconds on the host, which on a GPU are those of queueing it.
  double step();

  // Takes some steps; the seconds of each. On a GPU, which is idle before and after, equal shares of the
  // whole.
  std::vector<double> steps(int64_t count);

  at::Device device() const { return device_; }
  const parallel::GradientReduction& reduction() const { return training_step_.reduction(); }

 private:
  const at::Device device_;
  data::TokenSource tokens_;
  train::TrainingStep training_step_;
  data::BatchLoader loader_;
  metrics::PhaseTimers timers_;
  int64_t step_ = 0;
};

struct StepOptions {
  config::Config config;
  int64_t steps = 10;  // measured
  int64_t warmup = 2;  // before, not measured
};

struct StepReport {
  config::Config config;  // resolved
  int threads = 1;        // of each rank
  int64_t num_ranks = 1;
  int64_t num_buckets = 0;                    // in which the gradient goes through the ranks
  parallel::CommunicationTime communication;  // of rank 0, over all measured steps
  int64_t num_parameters = 0;
  double flops_per_token = 0.0;
  int64_t tokens_per_step = 0;
  std::vector<double> seconds;              // of each measured step; on a GPU by StepRunner::steps
  std::vector<core::ProfileEntry> profile;  // over all profiled steps
  // On a CPU the measured ones; on a GPU others, whose operations are timed by its own events.
  int64_t profiled_steps = 0;
  double profiled_seconds = 0.0;
  double queue_seconds = 0.0;  // on a GPU: of the host, until it has queued a step
  Ceilings ceilings;
  std::optional<double> spec_sheet_flops;  // per second, of the GPUs of all ranks together
  uint64_t peak_bytes = 0;                 // of the process's resident set, ceilings apart
  DeviceMemory device_memory;              // on a GPU, ceilings apart
  uint64_t estimated_bytes = 0;            // of the one that training fills, by start::plan_memory, without a
                                           // checkpoint's snapshot
};
bool on_gpu(const config::Config& config);  // resolved

// At the median of the steps.
double tokens_per_second(const StepReport& report);

// The least time that the operations of a step could take, each by the ceiling that bounds it, over the time
// of the step: 1 where nothing but the machine's best is in the way. An operation's traffic is counted once,
// so that data which stay in a cache can carry one beyond its ceiling.
double roofline_ratio(const StepReport& report);

// All ranks; the report is rank 0's. Throws core::UsageError where the config does not fit.
StepReport measure_step(const StepOptions& options, parallel::Communicator& communicator);

// Seconds a step of several kinds of attention, measured in turn.
struct AttentionReport {
  config::Config config;
  int threads = 1;  // of each rank
  int64_t num_ranks = 1;
  int64_t steps_in_turn = 1;                 // of each kind in a round
  std::vector<config::AttentionKind> kinds;  // the first is the baseline
  std::vector<std::vector<double>> seconds;  // [kind][round], of a step
};

// Each round takes one step of every kind, on a GPU a group of them, every second round in the opposite
// order, so that a drift of the machine meets all alike.
AttentionReport compare_attention(const StepOptions& options, const std::vector<config::AttentionKind>& kinds,
                                  parallel::Communicator& communicator);

// The ratio of two series that were measured in turn: exp of the mean of log(candidate / baseline) with its
// 95 % interval by Student's t over rounds. The interval is [0, infinity] for one round.
struct PairedRatio {
  double ratio = 1.0;
  double low = 0.0;
  double high = 0.0;
};
PairedRatio paired_ratio(const std::vector<double>& candidate, const std::vector<double>& baseline);

// The value below which a share of the values lies, interpolated between them; `values` is not empty.
double quantile(std::vector<double> values, double share);

}  // namespace ssgpt::bench
