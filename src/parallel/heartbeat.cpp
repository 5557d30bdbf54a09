#include "parallel/heartbeat.h"

#include "core/error.h"
#include "core/log.h"
#include "parallel/step_pace.h"

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <thread>
#include <utility>
#include <vector>

#include <fmt/format.h>

namespace ssgpt::parallel {
namespace {

using Clock = std::chrono::steady_clock;
using Seconds = std::chrono::duration<double>;

constexpr Seconds kBeat{0.5};
// Until the config's timeout is known: the longest silence of a rank that has been heard, and the longest
// wait for one that has not.
constexpr Seconds kSilenceAtStart{45.0};
constexpr Seconds kAbsenceAtStart{450.0};
// After a failed collective on any rank, a rank silent for this long is taken to be the cause.
constexpr Seconds kSuspectSilence{3.0};
// The same while a rank waits longer than usual. Ranks that are merely slow are not silent.
constexpr Seconds kSlowSilence{10.0};
constexpr Seconds kLongestExplanation{12.0};
constexpr Seconds kLongestFailureReport{3.0};  // how long this rank waits until the others know of it
constexpr Seconds kLongestGrace{10.0};

constexpr const char* kFailureKey = "failure";
constexpr const char* kSuspectKey = "suspect";
constexpr const char* kFailed = "failed";  // a value of kSuspectKey
constexpr const char* kSlow = "slow";
constexpr const char* kNone = "none";
constexpr const char* kSeenKey = "failure/seen";
constexpr const char* kLeftKey = "left";
constexpr const char* kDone = "done";

std::string beat_key(int64_t rank) {
  return fmt::format("beat/{}", rank);
}

// A rank's last heartbeat, and when it last changed.
struct PeerState {
  int64_t rank = 0;
  std::string beat;
  Clock::time_point heard;
};

}  // namespace

std::string failure_text(int64_t rank, const std::string& message) {
  return fmt::format("Rank {} failed: {}", rank, message);
}

bool reports_to_terminal(const std::string& failure, int64_t rank) {
  return rank == 0 || failure.starts_with("Rank 0 ") || !failure.starts_with("Rank ");
}

Clock::time_point HeartbeatClock::now() {
  return Clock::now();
}

bool HeartbeatClock::wait_for(std::condition_variable& changed, std::unique_lock<std::mutex>& lock,
                              Seconds longest, const std::function<bool()>& done) {
  return changed.wait_for(lock, longest, done);
}

struct Heartbeat::Impl {
  Impl(std::unique_ptr<Store> connection, int64_t own_rank, int64_t size,
       std::shared_ptr<HeartbeatClock> kept)
      : clock(std::move(kept)), store(std::move(connection)), rank(own_rank), world_size(size) {
    // Rank 0 monitors all ranks and reports which is lost; the others monitor rank 0. So the number of store
    // queries grows with the number of ranks, not with its square.
    for (int64_t other = rank == 0 ? 1 : 0; other < (rank == 0 ? world_size : 1); ++other) {
      peers.push_back({.rank = other, .beat = "", .heard = clock->now()});
    }
  }

  void run();
  void beat_once();
  void listen();
  void learn(const std::string& message);
  void lose_store(const std::string& reason);
  void leave_if_done(bool all);
  void acknowledge_failure();
  void guard();
  void miss_store(Seconds passed);
  void end_if_main_hangs();
  // Silence after which a rank or the store counts as lost, given what any rank suspects.
  Seconds silence_limit(const std::string& suspicion, bool heard) const;
  const char* own_suspicion() const { return suspects ? kFailed : pace.is_too_long() ? kSlow : kNone; }
  Seconds lost_after(bool heard) const {
    return timeout_known ? 0.75 * timeout.load() : heard ? kSilenceAtStart : kAbsenceAtStart;
  }
  // Pause between two rounds of a thread.
  Seconds pause() const { return std::min<Seconds>(kBeat, lost_after(/*heard=*/true) / 8); }

  const std::shared_ptr<HeartbeatClock> clock;
  const std::unique_ptr<Store> store;  // used by `heartbeat_thread` alone
  const int64_t rank;
  const int64_t world_size;
  std::atomic<Seconds> timeout{Seconds(600.0)};
  std::atomic<bool> timeout_known = false;
  std::vector<PeerState> peers;
  int64_t count = 0;
  std::string said_suspicion = kNone;

  std::mutex mutex;  // guards everything below
  std::condition_variable changed;
  Seconds unanswered{0.0};  // since the store last answered
  std::optional<std::string> failure;
  Clock::time_point failed_at;           // time of `failure`, or of own_error until the store holds it
  std::optional<std::string> own_error;  // the error that this rank fails with
  std::optional<std::string> to_report;
  bool reported = false;   // the failure is this rank's own
  bool suspects = false;   // a collective failed on this rank
  StepPace pace;           // pace of this rank's steps
  bool ending = false;     // this rank has reached its orderly end
  bool said_done = false;  // the store knows that
  bool all_done = false;   // all other ranks have reached theirs too
  bool left = false;       // this rank (on rank 0: every other rank) has no more queries to the store
  bool ending_after_failure = false;
  bool all_know = false;  // every rank that this one has to tell knows of the failure
  int64_t holds = 0;      // pieces of work in progress that need no other rank
  Clock::time_point released_at = Clock::time_point::min();  // end of the last of these
  bool stop = false;
  bool heartbeat_ended = false;
  std::thread heartbeat_thread;  // talks to the store, which may block for ever
  std::thread watchdog;          // so this thread watches the time
};

void Heartbeat::Impl::run() {
  std::unique_lock lock(mutex);
  while (!stop && !left) {
    lock.unlock();
    try {
      beat_once();
      listen();
    } catch (const core::RunError& error) {  // the store is gone, and with it the process that serves it
      lose_store(error.what());
    }
    lock.lock();
    unanswered = Seconds(0.0);
    clock->wait_for(changed, lock, ending || ending_after_failure ? kBeat / 10 : pause(),
                    [this] { return stop || to_report || (ending && !said_done); });
  }
  heartbeat_ended = true;
  changed.notify_all();
}

void Heartbeat::Impl::guard() {
  std::unique_lock lock(mutex);
  while (!(stop && heartbeat_ended)) {
    // Time during which this process itself was suspended says nothing about others.
    const Clock::time_point begin = clock->now();
    clock->wait_for(changed, lock, pause(), [this] { return stop && heartbeat_ended; });
    const Seconds passed = std::min<Seconds>(clock->now() - begin, 2 * pause());
    pace.pass(passed);
    lock.unlock();
    miss_store(passed);
    end_if_main_hangs();
    lock.lock();
  }
}

// The process that serves the store may be suspended: then no connection breaks, and nothing answers.
void Heartbeat::Impl::miss_store(Seconds passed) {
  const std::lock_guard guard(mutex);
  if (heartbeat_ended || failure) return;
  unanswered += passed;
  if (unanswered <= silence_limit(own_suspicion(), /*heard=*/true)) return;
  failure =
      fmt::format("{} does not answer: nothing was heard of it for {:.1f} s. It hangs, or is unreachable.",
                  store->description(), unanswered.count());
  failed_at = clock->now();
  said_done = all_done = left = all_know = true;  // nobody is left to tell
  changed.notify_all();
}

Seconds Heartbeat::Impl::silence_limit(const std::string& suspicion, bool heard) const {
  const Seconds limit = lost_after(heard);
  if (suspicion == kFailed) return std::min(kSuspectSilence, limit);
  return suspicion == kSlow ? std::min(kSlowSilence, limit) : limit;
}

void Heartbeat::Impl::lose_store(const std::string& reason) {
  const std::lock_guard guard(mutex);
  if (!failure && !all_done) {  // once rank 0 is done it may exit, and its store with it
    failure = reason;
    failed_at = clock->now();
  }
  said_done = all_done = left = all_know = true;  // nobody is left to tell
  changed.notify_all();
}

void Heartbeat::Impl::beat_once() {
  std::optional<std::string> report;
  std::string suspicion;
  bool at_end = false;
  {
    const std::lock_guard guard(mutex);
    report = to_report;
    suspicion = own_suspicion();
    at_end = ending;
  }
  if (report) {
    const std::string first = store->set_once(kFailureKey, *report);
    const std::lock_guard guard(mutex);
    reported = first == *report;
    to_report.reset();
  }
  // Set every time, since another rank may withdraw its own. Only this thread reads said_suspicion.
  if (suspicion != kNone || said_suspicion != suspicion) store->set(kSuspectKey, suspicion);
  said_suspicion = suspicion;
  store->set(beat_key(rank), at_end ? kDone : std::to_string(++count));
  const std::lock_guard guard(mutex);
  said_done = at_end;
  changed.notify_all();
}

void Heartbeat::Impl::listen() {
  if (const auto message = store->get(kFailureKey)) learn(*message);
  const std::string suspicion = store->get(kSuspectKey).value_or(kNone);
  bool all = true;
  for (PeerState& peer : peers) {
    const std::string beat = store->get(beat_key(peer.rank)).value_or("");
    if (beat == kDone) continue;
    all = false;
    const Seconds silence = clock->now() - peer.heard;
    const Seconds limit = silence_limit(suspicion, /*heard=*/!peer.beat.empty());
    if (beat != peer.beat) {
      peer.beat = beat;
      peer.heard = clock->now();
    } else if (silence > limit) {
      learn(store->set_once(kFailureKey,
                            fmt::format("Rank {} is lost: nothing was heard of it for {:.1f} s. It was "
                                        "killed, or it hangs.",
                                        peer.rank, silence.count())));
    }
  }
  leave_if_done(all);
  acknowledge_failure();
}

// The store is queried without holding the mutex: the answer may never come.
void Heartbeat::Impl::acknowledge_failure() {
  {
    const std::lock_guard guard(mutex);
    changed.notify_all();
    if (!ending_after_failure || all_know) return;
  }
  const int64_t known = store->add(kSeenKey, rank == 0 ? 0 : 1);
  const std::lock_guard guard(mutex);
  all_know = rank != 0 || known >= world_size - 1;
  changed.notify_all();
}

// The store ends with rank 0, which stays until the others no longer need it.
void Heartbeat::Impl::leave_if_done(bool all) {
  bool leaving = false;
  {
    const std::lock_guard guard(mutex);
    all_done = all;  // set before the query, which rank 0 may leave unanswered
    leaving = all && said_done;
  }
  if (leaving) leaving = store->add(kLeftKey, rank == 0 ? 0 : 1) >= (rank == 0 ? world_size - 1 : 1);
  const std::lock_guard guard(mutex);
  left = leaving;
}

// Records the first failure of the run. A rank that reported it itself counts as told only when it no longer
// needs rank 0: once it calls finish_after_failure().
void Heartbeat::Impl::learn(const std::string& message) {
  {
    const std::lock_guard guard(mutex);
    if (failure) return;
    failure = message;
    failed_at = clock->now();
    changed.notify_all();
    if (reported || rank == 0) return;
  }
  store->add(kSeenKey, 1);
}

// A collective with a dead rank may never return; the backend's own timeout is as long as the run's.
void Heartbeat::Impl::end_if_main_hangs() {
  std::string reason;
  {
    const std::lock_guard guard(mutex);
    if (!(failure || own_error)) return;
    // A rank that fails itself is about to exit, and may have something to close.
    const Seconds grace = own_error ? kLongestGrace : std::min(kLongestGrace, 0.2 * timeout.load());
    const Clock::time_point time = clock->now();
    const bool waits =
        holds > 0 ? time - failed_at < timeout.load() : time - std::max(failed_at, released_at) < grace;
    if (waits) return;
    reason = own_error ? *own_error : *failure;
  }
  const bool speaks = reason == own_error || reports_to_terminal(reason, rank);
  core::log::write(speaks ? core::log::Level::kError : core::log::Level::kWarning, reason);
  core::log::shutdown();
  std::_Exit(static_cast<int>(core::ExitCode::kFailed));
}

Heartbeat::Heartbeat(std::unique_ptr<Store> store, int64_t rank, int64_t world_size,
                     std::shared_ptr<HeartbeatClock> clock)
    : impl_(std::make_unique<Impl>(std::move(store), rank, world_size, std::move(clock))) {
  impl_->heartbeat_thread = std::thread([impl = impl_.get()] { impl->run(); });
  impl_->watchdog = std::thread([impl = impl_.get()] { impl->guard(); });
}

Heartbeat::~Heartbeat() {
  {
    const std::lock_guard guard(impl_->mutex);
    impl_->stop = true;
    impl_->changed.notify_all();
  }
  impl_->heartbeat_thread.join();
  impl_->watchdog.join();
}

void Heartbeat::set_timeout(std::chrono::duration<double> timeout) {
  impl_->timeout = timeout;
  impl_->timeout_known = true;
}

std::optional<std::string> Heartbeat::failure() const {
  const std::lock_guard guard(impl_->mutex);
  return impl_->failure;
}

void Heartbeat::make_progress() {
  const std::lock_guard guard(impl_->mutex);
  impl_->pace.end_step(impl_->clock->now());
}

std::string Heartbeat::explain(const std::string& otherwise) {
  std::unique_lock lock(impl_->mutex);
  impl_->suspects = true;
  impl_->clock->wait_for(impl_->changed, lock, kLongestExplanation,
                         [this] { return impl_->failure.has_value(); });
  return impl_->failure.value_or(otherwise);
}

void Heartbeat::report(const std::string& message) {
  std::unique_lock lock(impl_->mutex);
  if (impl_->failure) return;
  impl_->own_error = message;
  impl_->failed_at = impl_->clock->now();
  impl_->to_report = failure_text(impl_->rank, message);
  impl_->changed.notify_all();
  impl_->clock->wait_for(impl_->changed, lock, kLongestFailureReport,
                         [this] { return impl_->failure.has_value(); });
}

void Heartbeat::hold(bool begins) {
  const std::lock_guard guard(impl_->mutex);
  impl_->holds += begins ? 1 : -1;
  if (!begins) impl_->released_at = impl_->clock->now();
}

void Heartbeat::finish() {
  std::unique_lock lock(impl_->mutex);
  impl_->ending = true;
  impl_->pace.stop();
  impl_->changed.notify_all();
  const bool all_came = impl_->clock->wait_for(impl_->changed, lock, impl_->timeout.load(), [this] {
    return impl_->failure || (impl_->said_done && impl_->all_done);
  });
  if (!all_came) return;
  impl_->clock->wait_for(impl_->changed, lock, kLongestGrace,
                         [this] { return impl_->failure || impl_->left; });
}

void Heartbeat::finish_after_failure() {
  std::unique_lock lock(impl_->mutex);
  if (impl_->rank != 0 && !impl_->reported) return;
  impl_->ending_after_failure = true;
  impl_->changed.notify_all();
  impl_->clock->wait_for(impl_->changed, lock, kLongestFailureReport, [this] { return impl_->all_know; });
}

}  // namespace ssgpt::parallel
