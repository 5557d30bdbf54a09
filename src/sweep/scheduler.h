// Runs the processes of a sweep in order, as many at a time as the placement allows, with their progress on a
// status board. A failed run does not stop others; a process killed by a signal is restarted once. The
// processes are polled about twice per second, at little cost.
#pragma once

#include "run/directory.h"
#include "sweep/child.h"
#include "sweep/placement.h"
#include "sweep/status.h"
#include "sweep/status_board.h"

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace ssgpt::sweep {

// A run, and the process that trains it: the process resumes a stopped run, and at its end leaves a
// checkpoint of step status.max_steps.
struct Task {
  std::string name;
  run::RunDirectory directory;
  std::string program;
  std::vector<std::string> arguments;  // the first is the program's name
  Status status;                       // initially from status_on_disk()
};

class Scheduler {
 public:
  Scheduler(std::vector<Task> tasks, Placement placement, bool on_terminal);

  // Returns when no run is left to start and none is running. `stop` returns the signal that requests a stop,
  // else 0; the signal is forwarded once to the processes, which are waited for. Returns that signal if it
  // left runs unfinished, else 0.
  int run(const std::function<int()>& stop);

  std::vector<Status> statuses() const;

 private:
  using Clock = std::chrono::steady_clock;

  struct Running {
    size_t task = 0;
    size_t slot = 0;  // index of its GPU, if any
    std::unique_ptr<Child> child;
    int64_t first_step = -1;  // first step observed, and when; -1: none
    Clock::time_point first_time{};
  };

  void start_waiting();
  bool is_next(size_t task);
  void start(size_t task);
  void wait() const;
  void poll_running(int stop_signal);
  void poll_elsewhere();
  void update_pace(Running& running);
  void finish(const Running& running, int stop_signal);
  bool any(State state) const;
  std::optional<double> eta_seconds() const;

  std::vector<Task> tasks_;
  const Placement placement_;
  StatusBoard board_;
  std::vector<Running> running_;
  std::vector<bool> started_again_;                      // by task
  std::vector<std::optional<double>> seconds_per_step_;  // by task, where measured
  Clock::time_point last_poll_elsewhere_{};
};

}  // namespace ssgpt::sweep
