// A clock of heartbeats whose time passes only where the test lets it: minutes of silence take milliseconds,
// and a busy machine changes nothing.
#pragma once

#include "parallel/heartbeat.h"

#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <set>
#include <thread>

namespace ssgpt::parallel {

// The thread that makes it lets time pass; the others are those of heartbeats, or call their functions.
class ManualClock : public HeartbeatClock {
 public:
  using Time = std::chrono::steady_clock::time_point;
  using Seconds = std::chrono::duration<double>;

  Time now() override;
  bool wait_for(std::condition_variable& changed, std::unique_lock<std::mutex>& lock, Seconds longest,
                const std::function<bool()>& done) override;

  // Lets time pass from one end of a wait to the next, and everybody do what is due then: every other thread
  // that ever waited on this clock waits again, or has ended, before time goes on. No heartbeat may be
  // destroyed meanwhile.
  void pass(Seconds duration);

  // Announces `num_threads` that are about to wait here, or to be known: time stands until they are.
  void expect_threads(size_t num_threads);
  void know_this_thread();

 private:
  struct Wait {
    std::condition_variable* changed;
    std::mutex* mutex;  // of what `done` looks at
    const std::function<bool()>* done;
    Time until;
  };

  void settle();
  bool nothing_is_due();
  void wake_all();

  const std::thread::id owner_ = std::this_thread::get_id();
  std::mutex mutex_;  // of what follows; taken after a Wait's
  Time now_ = Time(std::chrono::hours(1));
  std::set<std::thread::id> threads_;  // all but the owner
  size_t num_expected_ = 0;            // besides these
  std::map<int64_t, Wait> waits_;
  int64_t num_waits_ = 0;
};

}  // namespace ssgpt::parallel
