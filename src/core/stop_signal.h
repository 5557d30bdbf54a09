// SIGTERM, SIGINT, SIGUSR1 and SIGHUP (sent when the terminal closes) request a stop; a second one ends the
// process at once with exit code 128 + signal, unless it is SIGHUP. If the process was started with SIGHUP
// ignored, as by nohup, it stays ignored.
#pragma once

#include <string_view>

namespace ssgpt::core {

// Installs the handlers for its lifetime; restores the earlier ones. At most one object at a time.
class StopSignal {
 public:
  // `answer` is written to stderr as a line of its own by the handler of the first signal, so that it appears
  // before the running work notices the signal. It must outlive this object. Empty: nothing is written.
  explicit StopSignal(std::string_view answer = {});
  ~StopSignal();
  StopSignal(const StopSignal&) = delete;
  StopSignal& operator=(const StopSignal&) = delete;

  // Number of the signal that requested a stop; 0 if there was none. Cheap: an atomic load.
  int received() const noexcept;
};

}  // namespace ssgpt::core
