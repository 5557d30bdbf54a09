// Detects whether the other ranks are alive. One thread sends this rank's heartbeats to the store, and sees
// which ranks failed or fell silent; a watchdog notices when the store itself is stuck, and ends the process
// if the main thread hangs in a collective that cannot complete. Uses no collective.
#pragma once

#include "parallel/store.h"

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

namespace ssgpt::parallel {

// The message that the other ranks receive when `rank` fails with `message`.
std::string failure_text(int64_t rank, const std::string& message);

// Whether this rank reports another rank's failure on the terminal: rank 0 does; if rank 0 or the store
// failed, all do.
bool reports_to_terminal(const std::string& failure, int64_t rank);

// A heartbeat's clock: the system's, unless a test substitutes one. Thread-safe.
class HeartbeatClock {
 public:
  virtual ~HeartbeatClock() = default;
  virtual std::chrono::steady_clock::time_point now();
  // Like std::condition_variable::wait_for: returns whether `done` holds, after `longest` at the latest.
  // `done` is called with the mutex of `lock` held.
  virtual bool wait_for(std::condition_variable& changed, std::unique_lock<std::mutex>& lock,
                        std::chrono::duration<double> longest, const std::function<bool()>& done);
};

class Heartbeat {
 public:
  // Starts the threads. `store`: a connection for this object alone.
  Heartbeat(std::unique_ptr<Store> store, int64_t rank, int64_t world_size,
            std::shared_ptr<HeartbeatClock> clock = std::make_shared<HeartbeatClock>());
  ~Heartbeat();  // stops the threads
  Heartbeat(const Heartbeat&) = delete;
  Heartbeat& operator=(const Heartbeat&) = delete;

  // A rank or a store that is silent for three quarters of `timeout` counts as lost; the remaining quarter is
  // for the other ranks to end in. Before the first call the limit is 45 s for a rank that has been heard,
  // and minutes for one that has not.
  void set_timeout(std::chrono::duration<double> timeout);

  // Why the run cannot continue: another rank's report, or the loss of a rank. nullopt while all is well.
  std::optional<std::string> failure() const;

  // The main thread completed a step; steps must follow each other closely. If the next call takes ten times
  // as long as usual, and at least ten seconds, other ranks may be the cause, and one that has been silent
  // for ten seconds counts as lost. Needed for collectives that wait for a dead rank without an error: those
  // of a GPU.
  void make_progress();

  // Called after a collective failed: waits a few seconds at most for the rank that is the cause to be found,
  // and returns the failure, or `otherwise` if none is found.
  std::string explain(const std::string& otherwise);

  // Reports to the other ranks that this rank fails with `message`, unless another failed first. Afterwards
  // the process ends within seconds, whatever the main thread does.
  void report(const std::string& message);

  // Marks the begin or end of work that this rank completes without the others, during which it survives a
  // failure elsewhere, for the timeout at most. Callable from any thread.
  void hold(bool begins);

  // Orderly end: rank 0 waits until every rank has reached it, since the store ends with rank 0; the others
  // wait for rank 0, since a launcher may treat the first exit as a reason to kill the rest. Returns at most
  // some seconds after the timeout.
  void finish();

  // The end after a failure: rank 0 stays until the others know of it, and a rank that reported one until it
  // has told rank 0 that it no longer needs it; for some seconds at most.
  void finish_after_failure();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace ssgpt::parallel
