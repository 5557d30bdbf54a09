#include "parallel/manual_clock.h"

#include <algorithm>
#include <stdexcept>

namespace ssgpt::parallel {

ManualClock::Time ManualClock::now() {
  const std::lock_guard guard(mutex_);
  return now_;
}

// A thread is known from its first wait on until it ends.
void ManualClock::know_this_thread() {
  struct Presence {
    ManualClock* clock = nullptr;
    ~Presence() {
      if (clock == nullptr) return;
      const std::lock_guard guard(clock->mutex_);
      clock->threads_.erase(std::this_thread::get_id());
    }
  };
  thread_local Presence presence;
  const std::lock_guard guard(mutex_);
  if (std::this_thread::get_id() == owner_) return;
  if (!threads_.insert(std::this_thread::get_id()).second) return;
  presence.clock = this;
  if (num_expected_ > 0) --num_expected_;
}

void ManualClock::expect_threads(size_t num_threads) {
  const std::lock_guard guard(mutex_);
  num_expected_ += num_threads;
}

bool ManualClock::wait_for(std::condition_variable& changed, std::unique_lock<std::mutex>& lock,
                           Seconds longest, const std::function<bool()>& done) {
  know_this_thread();
  const Time until = now() + std::chrono::duration_cast<Time::duration>(longest);
  while (!done()) {
    int64_t key = 0;
    {
      const std::lock_guard guard(mutex_);
      if (now_ >= until) return false;
      key = ++num_waits_;
      waits_[key] = {.changed = &changed, .mutex = lock.mutex(), .done = &done, .until = until};
    }
    changed.wait(lock);
    const std::lock_guard guard(mutex_);
    waits_.erase(key);
  }
  return true;
}

bool ManualClock::nothing_is_due() {
  std::map<int64_t, Wait> waits;
  {
    const std::lock_guard guard(mutex_);
    if (num_expected_ > 0 || waits_.size() != threads_.size()) return false;
    waits = waits_;
  }
  return std::all_of(waits.begin(), waits.end(), [this](const auto& entry) {
    const Wait& wait = entry.second;
    const std::lock_guard of_waiter(*wait.mutex);
    const std::lock_guard guard(mutex_);
    return waits_.contains(entry.first) && now_ < wait.until && !(*wait.done)();
  });
}

void ManualClock::settle() {
  constexpr std::chrono::seconds kLongest{60};  // of the machine's time: something hangs
  const Time begin = std::chrono::steady_clock::now();
  while (!nothing_is_due()) {
    if (std::chrono::steady_clock::now() - begin > kLongest) {
      throw std::runtime_error("a thread of a heartbeat does not come back to its clock");
    }
    std::this_thread::sleep_for(std::chrono::microseconds(50));
  }
}

// A waiting thread holds its mutex from reading the clock until it sleeps.
void ManualClock::wake_all() {
  std::map<int64_t, Wait> waits;
  {
    const std::lock_guard guard(mutex_);
    waits = waits_;
  }
  for (const auto& [key, wait] : waits) {
    const std::lock_guard of_waiter(*wait.mutex);
    wait.changed->notify_all();
  }
}

void ManualClock::pass(Seconds duration) {
  const Time end = now() + std::chrono::duration_cast<Time::duration>(duration);
  while (now() < end) {
    settle();
    {
      const std::lock_guard guard(mutex_);
      now_ = end;
      for (const auto& [key, wait] : waits_) now_ = std::min(now_, wait.until);
    }
    wake_all();
  }
  settle();
}

}  // namespace ssgpt::parallel
