// Runs the processes of a sweep: as many at a time as there is room for, in order, with their progress on a
// board. A run that fails stops no other; a process that a signal killed is started once more. The processes
// are looked at about twice a second, and little is done then.
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

// A run, and the process that trains it: it goes on where the run was stopped, and leaves a checkpoint of
// status.max_steps where it comes to its end.
struct Task {
  std::string name;
  run::RunDirectory directory;
  std::string program;
  std::vector<std::string> arguments;  // the first is the program's name
  Status status;                       // as status_on_disk() says
};

class Scheduler {
 public:
  Scheduler(std::vector<Task> tasks, Placement placement, bool on_terminal);

  // Until no run is left to start and none runs. `stop`: the signal that asks for a stop, else 0; the
  // processes get it once, and are waited for. Returns it where it left runs unfinished, else 0.
  int run(const std::function<int()>& stop);

  std::vector<Status> statuses() const;

 private:
  using Clock = std::chrono::steady_clock;

  struct Running {
    size_t task = 0;
    size_t slot = 0;  // which GPU
    std::unique_ptr<Child> child;
    int64_t first_step = -1;  // the first that was seen to be reached, and when; -1: none
    Clock::time_point first_time{};
  };

  void start_waiting();
  bool is_next(size_t task);
  void start(size_t task);
  void wait() const;
  void look_at_running(int stop_signal);
  void look_elsewhere();
  void take_pace(Running& running);
  void finish(const Running& running, int stop_signal);
  bool any(State state) const;
  std::optional<double> eta_seconds() const;

  std::vector<Task> tasks_;
  const Placement placement_;
  StatusBoard board_;
  std::vector<Running> running_;
  std::vector<bool> started_again_;                      // by task
  std::vector<std::optional<double>> seconds_per_step_;  // by task, where measured
  Clock::time_point last_look_elsewhere_{};
};

}  // namespace ssgpt::sweep
