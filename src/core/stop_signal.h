// SIGTERM, SIGINT, SIGUSR1 and SIGHUP, which a terminal sends that goes away, ask for a stop; a second one
// ends the process at once with 128 + signal, unless it is SIGHUP. A SIGHUP that the process was started to
// ignore, by nohup, stays ignored.
#pragma once

#include <string_view>

namespace ssgpt::core {

// Installs the handlers for its lifetime; restores the earlier ones. At most one object at a time.
class StopSignal {
 public:
  // `answer`: written to stderr as a line of its own when the first signal comes, by the handler, so that it
  // is there before the work that is under way notices. It must outlive the object. Empty: nothing is
  // written.
  explicit StopSignal(std::string_view answer = {});
  ~StopSignal();
  StopSignal(const StopSignal&) = delete;
  StopSignal& operator=(const StopSignal&) = delete;

  // The number of the signal that asked for a stop; 0 while none did. Cheap: an atomic load.
  int received() const noexcept;
};

}  // namespace ssgpt::core
