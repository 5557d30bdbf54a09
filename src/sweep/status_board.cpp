#include "sweep/status_board.h"

#include "core/log.h"
#include "core/progress.h"
#include "core/text.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdlib>
#include <string_view>
#include <utility>

#include <fmt/format.h>

namespace ssgpt::sweep {
namespace {

constexpr std::chrono::seconds kLinePeriod{60};
constexpr std::chrono::milliseconds kBoardPeriod{450};  // a little less than the scheduler's poll period

std::string loss_text(std::optional<double> loss) {
  if (!loss) return "";
  return std::isfinite(*loss) ? fmt::format("loss {:.4f}", *loss) : "loss not finite";
}

std::string first_line(const std::string& text) {
  return text.substr(0, text.find('\n'));
}

// Priority for display where not all lines fit, most important first.
int rank(State state) {
  switch (state) {
    case State::kFailed:
    case State::kStopped:
      return 0;
    case State::kRunning:
      return 1;
    case State::kElsewhere:
      return 2;
    case State::kWaiting:
      return 3;
    case State::kDone:
      return 4;
  }
  return 4;
}

std::string step_text(const Status& status) {
  const std::string max_steps = fmt::format("{}", status.max_steps);
  return fmt::format("step {:>{}}/{}", status.step, max_steps.size(), max_steps);
}

std::string status_text(const Status& status) {
  std::string text = fmt::format("{:<9}", to_string(status.state));
  const std::string loss = loss_text(status.loss);
  if (status.state == State::kFailed)
    return fmt::format("{}  step {}: {}", text, status.step, first_line(status.reason));
  if (status.state == State::kWaiting && status.step == 0) return "waiting";
  text += fmt::format("  {}", step_text(status));
  if (!loss.empty()) text += fmt::format("   {}", loss);
  if (status.eta_seconds && status.state == State::kRunning) {
    text += fmt::format("   ETA {}", core::human_duration(*status.eta_seconds));
  }
  return text;
}

std::string counts_text(const std::vector<Status>& statuses, const std::vector<State>& states) {
  std::string text;
  for (const State state : states) {
    const auto count =
        std::count_if(statuses.begin(), statuses.end(), [&](const Status& s) { return s.state == state; });
    if (count > 0) text += fmt::format("{}{} {}", text.empty() ? "" : ", ", count, to_string(state));
  }
  return text;
}

}  // namespace

std::string total_line(const std::vector<Status>& statuses, std::optional<double> eta_seconds) {
  const auto done = std::count_if(statuses.begin(), statuses.end(),
                                  [](const Status& s) { return s.state == State::kDone; });
  const std::string others = counts_text(
      statuses, {State::kRunning, State::kElsewhere, State::kWaiting, State::kStopped, State::kFailed});
  std::string text = fmt::format("{} of {} runs done", done, statuses.size());
  if (!others.empty()) text += fmt::format(", {}", others);
  if (eta_seconds) text += fmt::format("   ETA {}", core::human_duration(*eta_seconds));
  return text;
}

std::vector<std::string> board_lines(const std::vector<std::string>& names,
                                     const std::vector<Status>& statuses, std::optional<double> eta_seconds,
                                     size_t rows) {
  std::vector<size_t> order(statuses.size());
  for (size_t i = 0; i < order.size(); ++i) order[i] = i;
  const size_t room = rows - 1;  // the last line is the total
  std::vector<Status> rest;
  if (order.size() > room) {
    std::stable_sort(order.begin(), order.end(),
                     [&](size_t a, size_t b) { return rank(statuses[a].state) < rank(statuses[b].state); });
    for (size_t i = room - 1; i < order.size(); ++i) rest.push_back(statuses[order[i]]);
    order.resize(room - 1);
    std::sort(order.begin(), order.end());
  }
  size_t width = 0;
  for (const size_t run : order) width = std::max(width, names[run].size());
  std::vector<std::string> lines;
  for (const size_t run : order) {
    lines.push_back(fmt::format("{:<{}}  {}", names[run], width, status_text(statuses[run])));
  }
  if (!rest.empty()) {
    lines.push_back(fmt::format("and {} more: {}", rest.size(),
                                counts_text(rest, {State::kFailed, State::kStopped, State::kRunning,
                                                   State::kElsewhere, State::kWaiting, State::kDone})));
  }
  lines.push_back(total_line(statuses, eta_seconds));
  return lines;
}

StatusBoard::StatusBoard(std::vector<std::string> names, bool on_terminal)
    : names_(std::move(names)),
      on_terminal_(on_terminal),
      last_draw_(on_terminal ? Clock::time_point{} : Clock::now()) {}

StatusBoard::~StatusBoard() {
  if (on_terminal_) core::clear_progress_line();
}

void StatusBoard::started(size_t run, const Status& status) {
  if (on_terminal_) return;
  core::log::info(
      "{} {} ({} of {}).", names_[run],
      status.step > 0 ? fmt::format("resumes at step {}/{}", status.step, status.max_steps) : "starts",
      run + 1, names_.size());
}

void StatusBoard::ended(size_t run, const Status& status) {
  if (status.state == State::kFailed) {
    core::log::error("{} failed at step {}/{}: {}", names_[run], status.step, status.max_steps,
                     status.reason);
  } else if (!on_terminal_) {
    const std::string loss = loss_text(status.loss);
    core::log::info("{} {} at step {}/{}{}{}.", names_[run],
                    status.state == State::kDone ? "is done" : "stopped", status.step, status.max_steps,
                    loss.empty() ? "" : ", ", loss);
  }
}

void StatusBoard::draw(const std::vector<Status>& statuses, std::optional<double> eta_seconds,
                       Clock::time_point now) {
  if (last_draw_ != Clock::time_point{} &&
      now - last_draw_ < (on_terminal_ ? Clock::duration(kBoardPeriod) : kLinePeriod))
    return;
  last_draw_ = now;
  if (on_terminal_) {
    const size_t rows = std::max<size_t>(3, core::terminal_size().rows) - 1;
    core::show_progress_lines(board_lines(names_, statuses, eta_seconds, rows));
    return;
  }
  std::string running;
  for (size_t i = 0; i < statuses.size(); ++i) {
    if (statuses[i].state != State::kRunning) continue;
    const std::string loss = loss_text(statuses[i].loss);
    running += fmt::format("; {} step {}/{}{}{}", names_[i], statuses[i].step, statuses[i].max_steps,
                           loss.empty() ? "" : " ", loss);
  }
  core::log::info("{}{}", total_line(statuses, eta_seconds), running);
}

bool can_redraw() {
  const char* ci = std::getenv("CI");
  return core::stderr_is_terminal() && (ci == nullptr || *ci == '\0');
}

}  // namespace ssgpt::sweep
