#include "core/stop_signal.h"

#include "core/check.h"
#include "core/progress.h"

#include <array>
#include <atomic>
#include <cerrno>
#include <signal.h>
#include <string_view>
#include <unistd.h>

namespace ssgpt::core {

namespace {

constexpr std::array kSignals = {SIGTERM, SIGINT, SIGUSR1, SIGHUP};

std::atomic<int> received_signal{0};
static_assert(std::atomic<int>::is_always_lock_free, "a signal handler may use lock-free atomics only");

std::array<struct sigaction, kSignals.size()> earlier_actions;
std::atomic<bool> installed{false};
std::atomic<bool> on_terminal{false};
std::string_view first_answer;  // set before the handlers are installed
constexpr std::string_view kEraseLine = "\r\x1b[K";

// Drops what cannot be written: a signal handler has no one to report to.
void write_to_stderr(std::string_view text) {
  if (!text.empty() && ::write(STDERR_FILENO, text.data(), text.size()) < 0) on_terminal = false;
}

extern "C" void handle_stop_signal(int signal_number) {
  int none = 0;
  if (!received_signal.compare_exchange_strong(none, signal_number)) {
    // A closing terminal causes several: from the system and from the shell.
    if (signal_number == SIGHUP) return;
    // The progress line, which no one else will erase.
    if (on_terminal) write_to_stderr(kEraseLine);
    ::_exit(128 + signal_number);
  }
  if (first_answer.empty()) return;
  const int number = errno;  // errno of the interrupted code
  if (on_terminal) write_to_stderr(kEraseLine);
  write_to_stderr(first_answer);
  write_to_stderr("\n");
  errno = number;
}

}  // namespace

StopSignal::StopSignal(std::string_view answer) {
  SSGPT_CHECK(!installed.exchange(true), "two StopSignal objects at a time");
  received_signal = 0;
  first_answer = answer;
  on_terminal = stderr_is_terminal();
  struct sigaction action {};
  action.sa_handler = handle_stop_signal;
  action.sa_flags = SA_RESTART;  // interrupted reads and writes continue
  sigemptyset(&action.sa_mask);
  for (size_t i = 0; i < kSignals.size(); ++i) {
    SSGPT_CHECK(::sigaction(kSignals[i], nullptr, &earlier_actions[i]) == 0, "sigaction failed");
    if (kSignals[i] == SIGHUP && earlier_actions[i].sa_handler == SIG_IGN) continue;  // nohup
    SSGPT_CHECK(::sigaction(kSignals[i], &action, nullptr) == 0, "sigaction failed");
  }
}

StopSignal::~StopSignal() {
  for (size_t i = 0; i < kSignals.size(); ++i) {
    ::sigaction(kSignals[i], &earlier_actions[i], nullptr);
  }
  installed = false;
}

int StopSignal::received() const noexcept {
  return received_signal.load();
}

}  // namespace ssgpt::core
