// Benchmarks the training step as the trainer runs it: the same TrainingStep and loader, on random tokens. A
// GPU is waited for only after a group of steps, so that the next step is always queued, as in training.
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

// A model in training. The config's device and dtype are already resolved.
class StepRunner {
 public:
  // Called on all ranks, with the communicator open; it must outlive this object.
  StepRunner(const config::Config& config, parallel::Communicator& communicator);

  // Runs the next step; returns its host time in seconds, which on a GPU is the time to queue it.
  double step();

  // Runs some steps; returns the seconds of each. A GPU is idle before and after; its total is divided
  // equally.
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
  int64_t warmup = 2;  // unmeasured steps before
};

struct StepReport {
  config::Config config;  // resolved
  int threads = 1;        // per rank
  int64_t num_ranks = 1;
  int64_t num_buckets = 0;                    // of the gradient reduction
  parallel::CommunicationTime communication;  // on rank 0, over all measured steps
  int64_t num_parameters = 0;
  double flops_per_token = 0.0;
  int64_t tokens_per_step = 0;
  std::vector<double> seconds;              // per measured step; on a GPU see StepRunner::steps
  std::vector<core::ProfileEntry> profile;  // over all profiled steps
  // On a CPU the measured steps; on a GPU separate ones, timed by its events.
  int64_t profiled_steps = 0;
  double profiled_seconds = 0.0;
  double queue_seconds = 0.0;  // on a GPU: host time to queue a step
  Ceilings ceilings;
  std::optional<double> spec_sheet_flops;  // sum over the GPUs of all ranks
  uint64_t peak_bytes = 0;                 // of the process's resident set, without the ceilings
  DeviceMemory device_memory;              // on a GPU, without the ceilings
  // Estimate of start::plan_memory for the memory that training fills, without a checkpoint's snapshot.
  uint64_t estimated_bytes = 0;
};
bool on_gpu(const config::Config& config);  // config must be resolved

// At the median step time.
double tokens_per_second(const StepReport& report);

// Lower bound on the time of a step's operations, each by the ceiling that bounds it, over the time of the
// step: 1 if nothing but the machine's limits slows it down. An operation's traffic is counted once, so data
// that stays in a cache can lift an operation above its ceiling.
double roofline_ratio(const StepReport& report);

// Called on all ranks; the report is valid on rank 0. Throws core::UsageError if the config does not fit.
StepReport measure_step(const StepOptions& options, parallel::Communicator& communicator);

// Seconds per step of several kinds of attention, measured in turn.
struct AttentionReport {
  config::Config config;
  int threads = 1;  // per rank
  int64_t num_ranks = 1;
  int64_t steps_in_turn = 1;                 // per kind and round
  std::vector<config::AttentionKind> kinds;  // the first is the baseline
  std::vector<std::vector<double>> seconds;  // [kind][round], per step
};

// Each round runs one step of every kind, on a GPU a group of steps; every second round runs in reverse
// order, so that drift of the machine affects all kinds alike.
AttentionReport compare_attention(const StepOptions& options, const std::vector<config::AttentionKind>& kinds,
                                  parallel::Communicator& communicator);

// Ratio of two series that were measured in turn: exp of the mean of log(candidate / baseline), with its 95 %
// interval by Student's t over rounds. The interval is [0, infinity] for one round.
struct PairedRatio {
  double ratio = 1.0;
  double low = 0.0;
  double high = 0.0;
};
PairedRatio paired_ratio(const std::vector<double>& candidate, const std::vector<double>& baseline);

// Quantile of the values at `share`, interpolated linearly; `values` must not be empty.
double quantile(std::vector<double> values, double share);

}  // namespace ssgpt::bench
