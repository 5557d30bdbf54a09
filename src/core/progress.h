// The last lines of a terminal, redrawn in place, and a progress bar that stands there; where stderr is no
// terminal, the bar is one line every ten seconds.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

namespace ssgpt::core {

// How often a line is redrawn at most.
inline constexpr std::chrono::milliseconds kRedrawPeriod{100};

// Whether stderr is a terminal that lines can be redrawn on: not one that TERM calls dumb, which shows escape
// sequences as text.
bool stderr_is_terminal();

// Puts one line of text on the terminal in place of the one that stands there, cut to the terminal's width.
// For a process whose stderr is a terminal; any thread.
void show_progress_line(std::string_view text);

// The same with several lines, fewer than the terminal has, the cursor behind the last.
void show_progress_lines(const std::vector<std::string>& lines);

// Of the terminal at stderr; 24 rows of 80 columns where it does not say.
struct TerminalSize {
  size_t rows = 24;
  size_t columns = 80;
};
TerminalSize terminal_size();

// Takes them off the terminal, until show_progress_line() is called again.
void clear_progress_line();

// The log holds one while it writes: takes the line off, and keeps other threads from putting it back between
// the parts of what is written. `foreign`: the line may be another process's on the same terminal.
class ProgressLineOff {
 public:
  explicit ProgressLineOff(bool foreign);
  ~ProgressLineOff();
  ProgressLineOff(const ProgressLineOff&) = delete;
  ProgressLineOff& operator=(const ProgressLineOff&) = delete;
};

// The first `columns` characters of a text in UTF-8, each taken to be one column wide.
std::string_view first_columns(std::string_view text, size_t columns);

class ProgressBar {
 public:
  // `unit` is what is counted; "B" is shown as bytes. A total of 0 means that it is not known.
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
