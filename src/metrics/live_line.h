// The live line of a terminal: one line, redrawn in place a few times a second, with the current step, speed
// and ETA and the last known values of the other figures. Reads only the host's clock, so it never waits for
// a GPU. Not responsible for permanent lines.
#pragma once

#include "metrics/console.h"
#include "metrics/meters.h"

#include <chrono>
#include <cstdint>

namespace ssgpt::metrics {

class LiveLine {
 public:
  using Clock = ThroughputMeter::Clock;

  // `shown`: stderr is a terminal and this process draws on it; otherwise nothing is ever drawn.
  explicit LiveLine(bool shown);
  ~LiveLine();  // removes the line from the terminal
  LiveLine(const LiveLine&) = delete;
  LiveLine& operator=(const LiveLine&) = delete;

  void start(Clock::time_point now = Clock::now());  // before the first step
  // A step was taken or, on a GPU, queued. Time between pause() and resume() does not count as training time.
  void add(int64_t tokens, Clock::time_point now = Clock::now());
  void pause(Clock::time_point now = Clock::now());
  void resume(Clock::time_point now = Clock::now());

  // Whether a log line should stay on the terminal: always if nothing is redrawn, else every ten seconds. A
  // line that `must` stay does, and restarts the ten seconds.
  bool line_stays(bool must, Clock::time_point now = Clock::now());

  // Redraws after `step`, if the last redraw is long enough ago. `known`: figures of the last log line.
  void draw(ConsoleFigures known, int64_t step, Clock::time_point now = Clock::now());

 private:
  const bool shown_;
  ThroughputMeter throughput_;
  Clock::time_point last_draw_{};
  Clock::time_point last_line_{};
};

}  // namespace ssgpt::metrics
