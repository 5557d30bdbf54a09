// What training shows on a terminal while it runs: one line, redrawn in place a few times a second, with the
// step, the speed and the ETA of now and, of the rest, the last known figures. Reads the host's clock alone,
// so that a GPU is not waited for. Not responsible for the lines that stay.
#pragma once

#include "metrics/console.h"
#include "metrics/meters.h"

#include <chrono>
#include <cstdint>

namespace ssgpt::metrics {

class LiveLine {
 public:
  using Clock = ThroughputMeter::Clock;

  // `shown`: stderr is a terminal, and this process is the one that draws on it; else nothing is ever drawn.
  explicit LiveLine(bool shown);
  ~LiveLine();  // leaves the terminal without it
  LiveLine(const LiveLine&) = delete;
  LiveLine& operator=(const LiveLine&) = delete;

  void start(Clock::time_point now = Clock::now());  // before the first step
  // A step was taken, or on a GPU queued. Between pause() and resume() no time counts as training.
  void add(int64_t tokens, Clock::time_point now = Clock::now());
  void pause(Clock::time_point now = Clock::now());
  void resume(Clock::time_point now = Clock::now());

  // Whether a line of the log should stay on the terminal: always where nothing is redrawn, else every ten
  // seconds. A line that `must` stay does, and the ten seconds begin anew.
  bool line_stays(bool must, Clock::time_point now = Clock::now());

  // Redraws after `step`, where the last time is long enough ago. `known`: as of the last line of the log.
  void draw(ConsoleFigures known, int64_t step, Clock::time_point now = Clock::now());

 private:
  const bool shown_;
  ThroughputMeter throughput_;
  Clock::time_point last_draw_{};
  Clock::time_point last_line_{};
};

}  // namespace ssgpt::metrics
