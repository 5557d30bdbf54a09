#include "sweep/scheduler.h"

#include "core/error.h"
#include "core/log.h"

#include <algorithm>
#include <csignal>
#include <poll.h>
#include <string.h>
#include <utility>

#include <fmt/format.h>

namespace ssgpt::sweep {
namespace {

constexpr int kPollMilliseconds = 500;
constexpr std::chrono::seconds kElsewherePeriod{2};

std::vector<std::string> names_of(const std::vector<Task>& tasks) {
  std::vector<std::string> names;
  for (const Task& task : tasks) names.push_back(task.name);
  return names;
}

// Variables by which OpenMP binds threads to cores; since no run knows of the others, all would bind to the
// same cores.
const std::vector<std::string>& binding_variables() {
  static const std::vector<std::string> names = {"OMP_PROC_BIND", "OMP_PLACES", "GOMP_CPU_AFFINITY"};
  return names;
}

std::string saving_text(size_t runs) {
  if (runs == 0) return "no run is training, the sweep stops";
  return runs == 1 ? "1 run saves and stops" : fmt::format("{} runs save and stop", runs);
}

bool has_ended(const Status& status) {
  return status.state == State::kDone || status.state == State::kFailed;
}

std::string reason_of(const Child& child, bool again) {
  const Ending ending = child.ending();
  if (ending.signal != 0) {
    return fmt::format("its process was killed by signal {} ({}){}{}", ending.signal,
                       strsignal(ending.signal), again ? ", as the one before it" : "",
                       ending.signal == SIGKILL ? "; the machine may be out of memory" : "");
  }
  if (ending.exit_code > 128) {
    return fmt::format("its process was stopped by signal {} from elsewhere", ending.exit_code - 128);
  }
  const std::string error = child.last_error();
  if (ending.exit_code == 0) {
    return fmt::format("its process ended before the last step{}{}", error.empty() ? "" : ": ", error);
  }
  return error.empty() ? fmt::format("its process ended with exit code {}", ending.exit_code) : error;
}

}  // namespace

Scheduler::Scheduler(std::vector<Task> tasks, Placement placement, bool on_terminal)
    : tasks_(std::move(tasks)),
      placement_(std::move(placement)),
      board_(names_of(tasks_), on_terminal),
      started_again_(tasks_.size()),
      seconds_per_step_(tasks_.size()) {}

int Scheduler::run(const std::function<int()>& stop) {
  int stop_signal = 0;
  while (true) {
    if (const int signal = stop(); signal != 0 && stop_signal == 0) {
      stop_signal = signal;
      for (const Running& one : running_) one.child->send(signal);
      core::log::info("Signal {}: {}; a second signal ends the sweep at once.", signal,
                      saving_text(running_.size()));
    }
    if (stop_signal == 0) {
      poll_elsewhere();
      start_waiting();
    }
    const bool more = stop_signal == 0 && (any(State::kWaiting) || any(State::kElsewhere));
    if (running_.empty() && !more) break;
    board_.draw(statuses(), eta_seconds());
    wait();
    poll_running(stop_signal);
  }
  const bool unfinished = std::any_of(tasks_.begin(), tasks_.end(),
                                      [](const Task& task) { return task.status.state != State::kDone; });
  return unfinished ? stop_signal : 0;
}

std::vector<Status> Scheduler::statuses() const {
  std::vector<Status> list;
  for (const Task& task : tasks_) list.push_back(task.status);
  return list;
}

bool Scheduler::any(State state) const {
  return std::any_of(tasks_.begin(), tasks_.end(),
                     [state](const Task& task) { return task.status.state == state; });
}

void Scheduler::start_waiting() {
  for (size_t i = 0; i < tasks_.size() && static_cast<int64_t>(running_.size()) < placement_.jobs; ++i) {
    if (is_next(i)) start(i);
  }
}

// Another process may have trained the run since the last look.
bool Scheduler::is_next(size_t task) {
  Status& status = tasks_[task].status;
  if (status.state != State::kWaiting) return false;
  // Stays waiting on an error, which its process then reports.
  status = status_or_earlier(tasks_[task].directory, status);
  if (has_ended(status)) board_.ended(task, status);
  return status.state == State::kWaiting;
}

void Scheduler::start(size_t task) {
  Status& status = tasks_[task].status;
  Running running{.task = task, .slot = 0, .child = nullptr, .first_step = -1, .first_time = {}};
  const auto taken = [this](size_t slot) {
    return std::any_of(running_.begin(), running_.end(),
                       [slot](const Running& one) { return one.slot == slot; });
  };
  while (taken(running.slot)) ++running.slot;
  Child::Variables variables = {{"OMP_NUM_THREADS", fmt::format("{}", placement_.threads)}};
  if (!placement_.gpus.empty()) variables.emplace_back("CUDA_VISIBLE_DEVICES", placement_.gpus[running.slot]);
  try {
    running.child =
        std::make_unique<Child>(tasks_[task].program, tasks_[task].arguments, variables,
                                placement_.jobs > 1 ? binding_variables() : std::vector<std::string>());
  } catch (const core::RunError& error) {
    status.state = State::kFailed;
    status.reason = error.what();
    board_.ended(task, status);
    return;
  }
  status.state = State::kRunning;
  running_.push_back(std::move(running));
  board_.started(task, status);
}

// Waits until a process ends, a signal arrives, or it is time to poll again.
void Scheduler::wait() const {
  std::vector<pollfd> descriptors;
  for (const Running& one : running_) {
    descriptors.push_back({.fd = one.child->descriptor(), .events = POLLIN, .revents = 0});
  }
  ::poll(descriptors.data(), descriptors.size(), kPollMilliseconds);
}

void Scheduler::poll_running(int stop_signal) {
  for (auto one = running_.begin(); one != running_.end();) {
    one->child->read_output();
    update_pace(*one);
    // Asked once: a process that ends after this is finished at the next look.
    if (one->child->has_ended()) {
      finish(*one, stop_signal);
      one = running_.erase(one);
    } else {
      ++one;
    }
  }
}

void Scheduler::poll_elsewhere() {
  const Clock::time_point now = Clock::now();
  if (now - last_poll_elsewhere_ < kElsewherePeriod) return;
  last_poll_elsewhere_ = now;
  for (size_t i = 0; i < tasks_.size(); ++i) {
    Status& status = tasks_[i].status;
    if (status.state != State::kElsewhere) continue;
    status = status_or_earlier(tasks_[i].directory, status);
    if (has_ended(status)) board_.ended(i, status);
  }
}

void Scheduler::update_pace(Running& running) {
  Status& status = tasks_[running.task].status;
  const int64_t before = status.step;
  update_progress(tasks_[running.task].directory, status);
  if (status.step == before) return;
  const Clock::time_point now = Clock::now();
  if (running.first_step < 0 || status.step < running.first_step) {  // a resume removes lines
    running.first_step = status.step;
    running.first_time = now;
    return;
  }
  const double seconds = std::chrono::duration<double>(now - running.first_time).count();
  seconds_per_step_[running.task] = seconds / static_cast<double>(status.step - running.first_step);
  status.eta_seconds = *seconds_per_step_[running.task] * static_cast<double>(status.max_steps - status.step);
}

void Scheduler::finish(const Running& running, int stop_signal) {
  Task& task = tasks_[running.task];
  const Ending ending = running.child->ending();
  // Only the folder tells whether the run is done; otherwise the process's own messages say more.
  const bool says_done = ending.signal == 0 && ending.exit_code == 0 && stop_signal == 0;
  Status status = says_done ? status_or_failure(task.directory, task.status.max_steps)
                            : status_or_earlier(task.directory, task.status);
  if (!has_ended(status)) {
    if (stop_signal != 0 &&
        (ending.signal == stop_signal || ending.exit_code == 128 + stop_signal || ending.exit_code == 0)) {
      status.state = State::kStopped;
    } else if (ending.signal != 0 && stop_signal == 0 && !started_again_[running.task]) {
      started_again_[running.task] = true;
      status.state = State::kWaiting;
      core::log::warning("{}: its process was killed by signal {} ({}) at step {}; it is started again.",
                         task.name, ending.signal, strsignal(ending.signal), status.step);
    } else {
      status.state = State::kFailed;
      status.reason = reason_of(*running.child, started_again_[running.task]);
    }
  }
  task.status = status;
  if (status.state != State::kWaiting) board_.ended(running.task, status);
}

std::optional<double> Scheduler::eta_seconds() const {
  double sum = 0.0;
  int64_t measured = 0;
  for (const std::optional<double>& pace : seconds_per_step_) {
    if (!pace) continue;
    sum += *pace;
    ++measured;
  }
  if (measured == 0) return std::nullopt;
  double work = 0.0;
  double longest = 0.0;
  int64_t unfinished = 0;
  for (size_t i = 0; i < tasks_.size(); ++i) {
    const Status& status = tasks_[i].status;
    if (status.state != State::kRunning && status.state != State::kWaiting) continue;
    const double pace = seconds_per_step_[i].value_or(sum / static_cast<double>(measured));
    const double left = pace * static_cast<double>(status.max_steps - status.step);
    work += left;
    longest = std::max(longest, left);
    ++unfinished;
  }
  if (unfinished == 0) return std::nullopt;
  return std::max(longest, work / static_cast<double>(std::min(placement_.jobs, unfinished)));
}

}  // namespace ssgpt::sweep
