// Named scopes around phases and operations, for whoever wants to know where time goes: the benchmark's
// clock, or a device's markers and events. A scope costs one load and one branch where nobody listens. Knows
// no tensors and no devices.
#pragma once

#include <chrono>
#include <cstdint>
#include <string_view>
#include <vector>

namespace ssgpt::core {

// What an operation does at the least: arithmetic, and bytes read and written once each.
struct Work {
  double flops = 0.0;
  double bytes = 0.0;
  Work& operator+=(const Work& other) {
    flops += other.flops;
    bytes += other.bytes;
    return *this;
  }
};

// Hears of the scopes of one thread. Calls nest: each end() closes the newest begin() that is open.
class ProfileListener {
 public:
  virtual ~ProfileListener() = default;
  // `name` lives as long as the program.
  virtual void begin(std::string_view name, const Work& work) = 0;
  virtual void end() = 0;
};

// The listener of this thread; none by default.
inline constinit thread_local ProfileListener* profile_listener = nullptr;

// Sets the listener of this thread for its own lifetime; the one before it is back afterwards. No scope may
// be open where it begins or ends.
class ListenToProfile {
 public:
  explicit ListenToProfile(ProfileListener& listener) : previous_(profile_listener) {
    profile_listener = &listener;
  }
  ~ListenToProfile() { profile_listener = previous_; }
  ListenToProfile(const ListenToProfile&) = delete;
  ListenToProfile& operator=(const ListenToProfile&) = delete;

 private:
  ProfileListener* previous_;
};

// A phase ("forward") or an operation ("attention") from here to the end of the block. `name` is a literal.
class ProfileScope {
 public:
  explicit ProfileScope(std::string_view name, const Work& work = {}) : listener_(profile_listener) {
    if (listener_ != nullptr) [[unlikely]] {
      listener_->begin(name, work);
    }
  }
  ~ProfileScope() {
    if (listener_ != nullptr) [[unlikely]] {
      listener_->end();
    }
  }
  ProfileScope(const ProfileScope&) = delete;
  ProfileScope& operator=(const ProfileScope&) = delete;

 private:
  ProfileListener* listener_;
};

// Tells two listeners of every scope: `outer` hears of its beginning first and of its end last. Both outlive
// it.
class BothListen : public ProfileListener {
 public:
  BothListen(ProfileListener& outer, ProfileListener& inner) : outer_(outer), inner_(inner) {}
  void begin(std::string_view name, const Work& work) override {
    outer_.begin(name, work);
    inner_.begin(name, work);
  }
  void end() override {
    inner_.end();
    outer_.end();
  }

 private:
  ProfileListener& outer_;
  ProfileListener& inner_;
};

// All scopes of one name that stand in the same place.
struct ProfileEntry {
  std::string_view name;
  int64_t parent = -1;  // index of the entry that it stands in; -1: in none
  int64_t calls = 0;
  double seconds = 0.0;  // with those of the entries inside
  Work work;             // of the scope itself, not of those inside
};

// Which entry a scope belongs to: scopes of one name inside different ones are kept apart.
class ProfileEntries {
 public:
  size_t enter(std::string_view name, const Work& work);  // a scope begins; the index of its entry
  size_t leave();                                         // the newest scope that is open ends; that of its
  void add_seconds(size_t entry, double seconds) { entries_[entry].seconds += seconds; }

  // In the order of their first begin; a parent stands before what is inside it.
  const std::vector<ProfileEntry>& all() const { return entries_; }
  // Zeroes calls, seconds and work. No scope may be open.
  void reset();

 private:
  std::vector<ProfileEntry> entries_;
  std::vector<size_t> open_;
};

// Host time of every scope.
class HostProfile : public ProfileListener {
 public:
  using Entry = ProfileEntry;

  void begin(std::string_view name, const Work& work) override;
  void end() override;

  const std::vector<Entry>& entries() const { return entries_.all(); }
  void reset() { entries_.reset(); }  // as that of ProfileEntries

 private:
  using Clock = std::chrono::steady_clock;
  ProfileEntries entries_;
  std::vector<Clock::time_point> begins_;  // of the open scopes
};

}  // namespace ssgpt::core
