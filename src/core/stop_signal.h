// SIGTERM, SIGINT and SIGUSR1 ask for a stop; a second one ends the process at once with 128 + signal.
#pragma once

namespace ssgpt::core {

// Installs the handlers for its lifetime; restores the earlier ones. At most one object at a time.
class StopSignal {
 public:
  StopSignal();
  ~StopSignal();
  StopSignal(const StopSignal&) = delete;
  StopSignal& operator=(const StopSignal&) = delete;

  // The number of the signal that asked for a stop; 0 while none did. Cheap: an atomic load.
  int received() const noexcept;
};

}  // namespace ssgpt::core
