// Step times, and whether a step takes far longer than the previous ones.
#pragma once

#include <chrono>
#include <cstddef>
#include <deque>
#include <optional>

namespace ssgpt::parallel {

// Not thread-safe.
class StepPace {
 public:
  using Time = std::chrono::steady_clock::time_point;
  using Seconds = std::chrono::duration<double>;

  // Records the end of a step; from the first call on, another step is expected.
  void end_step(Time now);
  // Adds time during which this process was running: time during which it was suspended says nothing about
  // others.
  void pass(Seconds seconds) { waited_ += seconds; }
  // No further step is expected.
  void stop() { ended_at_.reset(); }

  // Whether a step is expected and has taken more than ten times the median of the last ones, and more than
  // ten seconds.
  bool is_too_long() const;

 private:
  static constexpr size_t kRemembered = 9;
  std::optional<Time> ended_at_;  // end of the last step
  Seconds waited_{0.0};           // since then
  std::deque<Seconds> times_;     // durations of the last steps
};

}  // namespace ssgpt::parallel
