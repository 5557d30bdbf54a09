// Named scopes around phases and operations, for profiling: the benchmark's timer, or a device's markers and
// events. Without a listener a scope costs one load and one branch. Knows no tensors and no devices.
#pragma once

#include <chrono>
#include <cstdint>
#include <string_view>
#include <vector>

namespace ssgpt::core {

// Minimum work of an operation: FLOPs, and memory traffic if each byte is read or written once.
struct Work {
  double flops = 0.0;
  double bytes = 0.0;
  Work& operator+=(const Work& other) {
    flops += other.flops;
    bytes += other.bytes;
    return *this;
  }
};

// Receives begin and end of the scopes of one thread. Calls nest: each end() closes the innermost open
// begin().
class ProfileListener {
 public:
  virtual ~ProfileListener() = default;
  // `name` stays valid until the program ends.
  virtual void begin(std::string_view name, const Work& work) = 0;
  virtual void end() = 0;
};

// The listener of this thread; none by default.
inline constinit thread_local ProfileListener* profile_listener = nullptr;

// Sets this thread's listener for its own lifetime, then restores the previous one. No scope may be open at
// its construction or destruction.
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

// Marks a phase ("forward") or an operation ("attention") until the end of the block. `name` is a literal.
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

// Forwards every scope to two listeners: `outer` receives begin first and end last. Both must outlive this
// object.
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

// All scopes with the same name and the same parent.
struct ProfileEntry {
  std::string_view name;
  int64_t parent = -1;  // index of the enclosing entry; -1: none
  int64_t calls = 0;
  double seconds = 0.0;  // including nested entries
  Work work;             // of the scope itself, excluding nested entries
};

// Maps scopes to entries: scopes with the same name but different parents have separate entries.
class ProfileEntries {
 public:
  size_t enter(std::string_view name, const Work& work);  // begins a scope; returns its entry's index
  size_t leave();  // ends the innermost scope; returns its entry's index
  void add_seconds(size_t entry, double seconds) { entries_[entry].seconds += seconds; }

  // In order of first begin, so a parent precedes its children.
  const std::vector<ProfileEntry>& all() const { return entries_; }
  // Zeroes calls, seconds and work. No scope may be open.
  void reset();

 private:
  std::vector<ProfileEntry> entries_;
  std::vector<size_t> open_;
};

// Measures the host time of every scope.
class HostProfile : public ProfileListener {
 public:
  using Entry = ProfileEntry;

  void begin(std::string_view name, const Work& work) override;
  void end() override;

  const std::vector<Entry>& entries() const { return entries_.all(); }
  void reset() { entries_.reset(); }  // see ProfileEntries::reset()

 private:
  using Clock = std::chrono::steady_clock;
  ProfileEntries entries_;
  std::vector<Clock::time_point> begins_;  // of the open scopes
};

}  // namespace ssgpt::core
