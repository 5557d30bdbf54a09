// A progress bar on stderr: redrawn in place on a terminal, one line every ten seconds elsewhere.
#pragma once

#include <chrono>
#include <cstdint>
#include <mutex>
#include <string>

namespace ssgpt::core {

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

// Takes a bar that stands on the terminal off it, until its next redraw. The log calls this before each line.
void clear_progress_line();

}  // namespace ssgpt::core
