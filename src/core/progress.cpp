#include "core/progress.h"

#include "core/log.h"
#include "core/text.h"

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <unistd.h>
#include <utility>

#include <fmt/format.h>

namespace ssgpt::core {

namespace {

using std::chrono::steady_clock;

constexpr auto kTerminalPeriod = std::chrono::milliseconds(100);
constexpr auto kLinePeriod = std::chrono::seconds(10);
constexpr int kBarCells = 24;

std::atomic<bool> bar_on_terminal{false};

std::string amount_text(double amount, const std::string& unit) {
  return unit == "B" ? human_bytes(static_cast<uint64_t>(amount)) : human_count(amount) + " " + unit;
}

}  // namespace

void clear_progress_line() {
  if (bar_on_terminal.exchange(false)) {
    std::fputs("\r\x1b[K", stderr);
  }
}

ProgressBar::ProgressBar(std::string label, std::string unit, uint64_t total)
    : label_(std::move(label)),
      unit_(std::move(unit)),
      total_(total),
      terminal_(::isatty(STDERR_FILENO) == 1),
      start_(steady_clock::now()),
      last_draw_(start_) {}

ProgressBar::~ProgressBar() {
  const std::lock_guard lock(mutex_);
  if (!finished_) {
    draw(/*last=*/true);
  }
}

void ProgressBar::advance(uint64_t amount) {
  const std::lock_guard lock(mutex_);
  done_ += amount;
  const auto now = steady_clock::now();
  if (!finished_ && now - last_draw_ >= (terminal_ ? steady_clock::duration(kTerminalPeriod) : kLinePeriod)) {
    last_draw_ = now;
    draw(/*last=*/false);
  }
}

void ProgressBar::finish(const std::string& summary) {
  const std::lock_guard lock(mutex_);
  if (!std::exchange(finished_, true)) {
    log::info("{}", summary);
  }
}

void ProgressBar::draw(bool last) {
  const double seconds = std::chrono::duration<double>(steady_clock::now() - start_).count();
  const double rate = seconds > 0 ? static_cast<double>(done_) / seconds : 0.0;
  const double fraction =
      total_ > 0 ? std::min(1.0, static_cast<double>(done_) / static_cast<double>(total_)) : 0.0;
  std::string text = label_ + " ";
  if (total_ > 0) {
    if (terminal_) {
      const int filled = static_cast<int>(fraction * kBarCells);
      text += fmt::format("[{:=<{}}{: <{}}] ", "", filled, "", kBarCells - filled);
    }
    text += fmt::format("{:3.0f}%, ", 100.0 * fraction);
  }
  text += fmt::format("{}, {}/s", amount_text(static_cast<double>(done_), unit_), amount_text(rate, unit_));
  if (total_ > done_ && rate > 0 && !last) {
    text += ", " + human_duration(static_cast<double>(total_ - done_) / rate) + " left";
  }
  if (terminal_ && !last) {
    fmt::print(stderr, "\r{}\x1b[K", text);
    std::fflush(stderr);
    bar_on_terminal = true;
  } else {
    log::info("{}", text);
  }
}

}  // namespace ssgpt::core
