// Meters of the training loop: smoothed loss, throughput, time per phase. Plain arithmetic on the host; each
// object belongs to one thread.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <vector>

namespace ssgpt::metrics {

// Exponential mean corrected for its empty start: after t values it is
//   sum_i (1 - d) d^(t-i) x_i / (1 - d^t)
// (the bias correction of Adam's moments, Kingma and Ba 2015, algorithm 1). Restoring its state is exact, bit
// for bit.
class SmoothedMean {
 public:
  struct State {
    double value = 0.0;
    double weight = 0.0;  // 1 - d^t; 0 before the first value
  };

  // `decay` d in [0, 1): the mean looks back over about 1 / (1 - d) values.
  explicit SmoothedMean(double decay = 0.98);

  void add(double value);               // ignores a value that is not finite
  std::optional<double> value() const;  // nullopt before the first finite value

  State state() const { return state_; }
  void restore(const State& state) { state_ = state; }

 private:
  double decay_;
  State state_;
};

// Tokens per second over the last steps of training. Time between pause() and resume() (validation,
// checkpoints) does not count.
class ThroughputMeter {
 public:
  using Clock = std::chrono::steady_clock;

  // The window holds as many of the last steps as took `window_seconds`, and at least those of the last call.
  explicit ThroughputMeter(double window_seconds = 30.0);

  void start(Clock::time_point now = Clock::now());  // before the first step; forgets everything earlier
  // `num_steps` steps ended since the last call.
  void add(int64_t tokens, Clock::time_point now = Clock::now(), int64_t num_steps = 1);
  void pause(Clock::time_point now = Clock::now());
  void resume(Clock::time_point now = Clock::now());

  std::optional<double> tokens_per_second() const;  // nullopt before the first step
  std::optional<double> seconds_per_step() const;

 private:
  struct Steps {
    int64_t count;
    int64_t tokens;
    double seconds;
  };
  double window_seconds_;
  Clock::time_point last_{};
  Clock::time_point paused_at_{};
  bool paused_ = false;
  std::deque<Steps> steps_;  // in the window
  double seconds_ = 0.0;
  int64_t tokens_ = 0;
  int64_t count_ = 0;
};

// MFU (model FLOPs utilization): the share of the devices' peak that training reaches, counting model FLOPs
// only, without recomputation and padding (Chowdhery et al. 2022, PaLM, appendix B). `peak_flops`: FLOP/s
// over all devices.
double model_flops_utilization(double tokens_per_second, double flops_per_token, double peak_flops);

// Host time by named phase, with one meter per phase.
class PhaseTimers {
 public:
  using Clock = std::chrono::steady_clock;

  explicit PhaseTimers(std::vector<std::string> names);

  // Adds the time of its scope to a phase. The PhaseTimers must outlive it.
  class Scope {
   public:
    Scope(PhaseTimers& timers, size_t phase) : timers_(timers), phase_(phase), begin_(Clock::now()) {}
    ~Scope() { timers_.add(phase_, std::chrono::duration<double>(Clock::now() - begin_).count()); }
    Scope(const Scope&) = delete;
    Scope& operator=(const Scope&) = delete;

   private:
    PhaseTimers& timers_;
    size_t phase_;
    Clock::time_point begin_;
  };

  void add(size_t phase, double seconds);

  size_t size() const { return names_.size(); }
  const std::string& name(size_t phase) const { return names_.at(phase); }
  double seconds(size_t phase) const { return seconds_.at(phase); }

 private:
  std::vector<std::string> names_;
  std::vector<double> seconds_;
};

}  // namespace ssgpt::metrics
