// How long steps take, and whether one takes far longer than the others did.
#pragma once

#include <chrono>
#include <cstddef>
#include <deque>
#include <optional>

namespace ssgpt::parallel {

// Not for several threads at once.
class StepPace {
 public:
  using Time = std::chrono::steady_clock::time_point;
  using Seconds = std::chrono::duration<double>;

  // A step ended; from the first one on another is waited for.
  void end_step(Time now);
  // Some time went by in which this process was alive. What it stood still for says nothing of others.
  void pass(Seconds seconds) { waited_ += seconds; }
  // The last one was the last.
  void stop() { ended_at_.reset(); }

  // Whether a step is waited for, and for more than ten times the median of the last ones, and ten seconds.
  bool is_too_long() const;

 private:
  static constexpr size_t kRemembered = 9;
  std::optional<Time> ended_at_;  // of the last step
  Seconds waited_{0.0};           // since then
  std::deque<Seconds> times_;     // of the last ones
};

}  // namespace ssgpt::parallel
