// Progress display of a sweep: on a terminal a board redrawn in place, with one line per run and one for the
// total; elsewhere a log line when a run starts or ends, and one about every minute.
#pragma once

#include "sweep/status.h"

#include <chrono>
#include <cstddef>
#include <optional>
#include <string>
#include <vector>

namespace ssgpt::sweep {

// "2 of 8 runs done, 2 running, 4 waiting   ETA 3 min 12 s"
std::string total_line(const std::vector<Status>& statuses, std::optional<double> eta_seconds);

// At most `rows` lines (2 or more), the last of which is total_line(). Where not all runs fit, failed and
// running ones take precedence, and one line counts the rest.
std::vector<std::string> board_lines(const std::vector<std::string>& names,
                                     const std::vector<Status>& statuses, std::optional<double> eta_seconds,
                                     size_t rows);

class StatusBoard {
 public:
  using Clock = std::chrono::steady_clock;

  // `on_terminal`: stderr is a terminal that can redraw lines (can_redraw()).
  StatusBoard(std::vector<std::string> names, bool on_terminal);
  ~StatusBoard();  // removes the board from the terminal
  StatusBoard(const StatusBoard&) = delete;
  StatusBoard& operator=(const StatusBoard&) = delete;

  void started(size_t run, const Status& status);
  void ended(size_t run, const Status& status);

  // Shows the status of all runs, unless the last display was too recent.
  void draw(const std::vector<Status>& statuses, std::optional<double> eta_seconds,
            Clock::time_point now = Clock::now());

 private:
  const std::vector<std::string> names_;
  const bool on_terminal_;
  Clock::time_point last_draw_;
};

// Whether stderr is a terminal that can redraw lines, TERM is not dumb, and CI is not set.
bool can_redraw();

}  // namespace ssgpt::sweep
