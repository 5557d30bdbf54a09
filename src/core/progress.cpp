#include "core/progress.h"

#include "core/log.h"
#include "core/text.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <sys/ioctl.h>
#include <unistd.h>
#include <utility>

#include <fmt/format.h>

namespace ssgpt::core {

namespace {

using std::chrono::steady_clock;

constexpr auto kLinePeriod = std::chrono::seconds(10);
constexpr int kBarCells = 24;

struct Terminal {
  std::mutex mutex;
  size_t lines = 0;  // number of progress lines on the terminal, redrawn in place
};

// Never destroyed: destructors of static objects may still log.
Terminal& terminal() {
  static Terminal* const instance = new Terminal;
  return *instance;
}

// The caller holds the mutex.
void erase_line() {
  const std::string text =
      terminal().lines > 1 ? fmt::format("\r\x1b[{}A\x1b[J", terminal().lines - 1) : "\r\x1b[K";
  std::fputs(text.c_str(), stderr);
  std::fflush(stderr);
  terminal().lines = 0;
}

std::string amount_text(double amount, const std::string& unit) {
  return unit == "B" ? human_bytes(static_cast<uint64_t>(amount)) : human_count(amount) + " " + unit;
}

}  // namespace

bool stderr_is_terminal() {
  const char* kind = std::getenv("TERM");
  return ::isatty(STDERR_FILENO) == 1 && (kind == nullptr || std::string_view(kind) != "dumb");
}

TerminalSize terminal_size() {
  TerminalSize size;
  winsize reported{};
  if (::ioctl(STDERR_FILENO, TIOCGWINSZ, &reported) != 0) return size;
  if (reported.ws_row > 0) size.rows = reported.ws_row;
  if (reported.ws_col > 0) size.columns = reported.ws_col;
  return size;
}

std::string_view first_columns(std::string_view text, size_t columns) {
  const auto begins_character = [](char byte) {
    return (static_cast<unsigned char>(byte) & 0xC0) != 0x80;
  };
  size_t end = 0;
  for (size_t seen = 0; end < text.size(); ++end) {
    if (begins_character(text[end]) && ++seen > columns) break;
  }
  return text.substr(0, end);
}

void show_progress_line(std::string_view text) {
  const std::lock_guard lock(terminal().mutex);
  // A character in the last column makes some terminals begin a new line, which "\r" does not undo.
  const std::string line =
      fmt::format("\r{}\x1b[K", first_columns(printable_line(text), terminal_size().columns - 1));
  // A vanished terminal must not end the work it displayed: fmt::print would throw.
  [[maybe_unused]] const size_t ignored = std::fwrite(line.data(), 1, line.size(), stderr);
  std::fflush(stderr);
  terminal().lines = 1;
}

void show_progress_lines(const std::vector<std::string>& lines) {
  const std::lock_guard lock(terminal().mutex);
  const size_t columns = terminal_size().columns - 1;
  std::string text = terminal().lines > 1 ? fmt::format("\r\x1b[{}A", terminal().lines - 1) : "\r";
  for (size_t i = 0; i < lines.size(); ++i) {
    text += fmt::format("{}{}\x1b[K", i == 0 ? "" : "\n", first_columns(printable_line(lines[i]), columns));
  }
  text += "\x1b[J";  // erases leftovers of longer earlier output
  [[maybe_unused]] const size_t ignored = std::fwrite(text.data(), 1, text.size(), stderr);
  std::fflush(stderr);
  terminal().lines = lines.size();
}

void clear_progress_line() {
  const std::lock_guard lock(terminal().mutex);
  if (terminal().lines > 0) erase_line();
}

ProgressLineOff::ProgressLineOff(bool foreign) {
  terminal().mutex.lock();
  if (terminal().lines > 0 || (foreign && stderr_is_terminal())) erase_line();
}

ProgressLineOff::~ProgressLineOff() {
  terminal().mutex.unlock();
}

ProgressBar::ProgressBar(std::string label, std::string unit, uint64_t total)
    : label_(std::move(label)),
      unit_(std::move(unit)),
      total_(total),
      terminal_(stderr_is_terminal()),
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
  if (!finished_ && now - last_draw_ >= (terminal_ ? steady_clock::duration(kRedrawPeriod) : kLinePeriod)) {
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
    show_progress_line(text);
  } else {
    log::info("{}", text);
  }
}

}  // namespace ssgpt::core
