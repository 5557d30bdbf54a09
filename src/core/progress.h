// Lines at the bottom of a terminal that are redrawn in place, and a progress bar shown there; where stderr
// is not a terminal, the bar logs one line every ten seconds.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

namespace ssgpt::core {

// Minimum time between redraws of a line.
inline constexpr std::chrono::milliseconds kRedrawPeriod{100};

// Whether stderr is a terminal that can redraw lines: TERM=dumb cannot, as it shows escape sequences as text.
bool stderr_is_terminal();

// Replaces the progress line on the terminal by `text`, cut to the terminal's width. Requires stderr to be a
// terminal; callable from any thread.
void show_progress_line(std::string_view text);

// The same with several lines, fewer than the terminal's rows; the cursor stays after the last line.
void show_progress_lines(const std::vector<std::string>& lines);

// Size of the terminal at stderr; 24 rows by 80 columns where it is unknown.
struct TerminalSize {
  size_t rows = 24;
  size_t columns = 80;
};
TerminalSize terminal_size();

// Removes the progress lines until the next show_progress_line() or show_progress_lines().
void clear_progress_line();

// Held by the log while it writes: removes the progress line, and keeps other threads from redrawing it in
// the middle of the output. `foreign`: the line may belong to another process on the same terminal.
class ProgressLineOff {
 public:
  explicit ProgressLineOff(bool foreign);
  ~ProgressLineOff();
  ProgressLineOff(const ProgressLineOff&) = delete;
  ProgressLineOff& operator=(const ProgressLineOff&) = delete;
};

// The first `columns` characters of a UTF-8 text, assuming each to be one column wide.
std::string_view first_columns(std::string_view text, size_t columns);

class ProgressBar {
 public:
  // `unit` is what is counted; "B" is shown as bytes. A total of 0 means unknown.
  ProgressBar(std::string label, std::string unit, uint64_t total);
  ~ProgressBar();  // ends the line
  ProgressBar(const ProgressBar&) = delete;
  ProgressBar& operator=(const ProgressBar&) = delete;

  void advance(uint64_t amount);            // any thread
  void finish(const std::string& summary);  // replaces the bar by one line; later calls do nothing

 private:
  void draw(bool last);

  const std::string label_;
  const std::string unit_;
  const uint64_t total_;
  const bool terminal_;
  const std::chrono::steady_clock::time_point start_;
  std::chrono::steady_clock::time_point last_draw_;
  uint64_t done_ = 0;
  bool finished_ = false;
  std::mutex mutex_;
};

}  // namespace ssgpt::core
