// Knows whether the other ranks are alive. A thread tells the store that this rank is, and sees who failed or
// fell silent; another notices where the store itself stands still, and ends the process where the main
// thread hangs in a collective that cannot complete. Enters no collective.
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

// What the others learn where `rank` fails with `message`.
std::string failure_text(int64_t rank, const std::string& message);

// Whether this rank tells people on the terminal of a failure of another: rank 0 does, and where rank 0 or
// the store is what failed, all do.
bool speaks_of_failure(const std::string& failure, int64_t rank);

// The clock of a heartbeat: that of the machine, unless a test lets another one pass. By any thread.
class HeartbeatClock {
 public:
  virtual ~HeartbeatClock() = default;
  virtual std::chrono::steady_clock::time_point now();
  // As std::condition_variable::wait_for: whether `done` holds after `longest` at the latest. Whoever calls
  // `done` holds the mutex of `lock`.
  virtual bool wait_for(std::condition_variable& changed, std::unique_lock<std::mutex>& lock,
                        std::chrono::duration<double> longest, const std::function<bool()>& done);
};

class Heartbeat {
 public:
  // Starts the threads, on a connection of their own.
  Heartbeat(std::unique_ptr<Store> store, int64_t rank, int64_t world_size,
            std::shared_ptr<HeartbeatClock> clock = std::make_shared<HeartbeatClock>());
  ~Heartbeat();  // stops the threads
  Heartbeat(const Heartbeat&) = delete;
  Heartbeat& operator=(const Heartbeat&) = delete;

  // A rank, or a store, that is silent for three quarters of `timeout` counts as lost; the rest of it is for
  // the others to end in. Before the first call it is 45 s for a rank that was heard of, and minutes for one
  // that was not.
  void set_timeout(std::chrono::duration<double> timeout);

  // Why the run cannot go on: what another rank reported, or that it is lost. None while all is well.
  std::optional<std::string> failure() const;

  // This rank's main thread came on by a step, of which no two may be far apart: from the first call on,
  // where it takes ten times as long as usual, and ten seconds or more, to the next, the others may be the
  // reason, and whoever was silent for ten seconds is. For collectives that wait for a rank that is gone and
  // say nothing: those of a GPU.
  void make_progress();

  // For a collective that failed: waits until it is known which rank is the reason, a few seconds at most,
  // and returns the failure; `otherwise` where none is found.
  std::string explain(const std::string& otherwise);

  // Tells the others that this rank fails with `message`, unless another failed before. Afterwards the
  // process ends within seconds, whatever the main thread does.
  void report(const std::string& message);

  // Between begin and end of what this rank completes without the others it outlives a failure, for the
  // timeout at most. By any thread.
  void hold(bool begins);

  // The ordinary end: rank 0 waits until every rank came to it, since the store goes with it, and the others
  // until rank 0 did, since a launcher may take the first exit for a reason to end the rest. Returns some
  // seconds after the timeout at the latest.
  void finish();

  // The end after a failure: rank 0 stays until the others know of it, and those that reported one until they
  // have told it that they need it no more; for some seconds at most.
  void linger();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace ssgpt::parallel
