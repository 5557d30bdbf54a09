#include "core/profile.h"

#include "core/check.h"

namespace ssgpt::core {

size_t ProfileEntries::enter(std::string_view name, const Work& work) {
  const int64_t parent = open_.empty() ? -1 : static_cast<int64_t>(open_.back());
  size_t index = 0;
  while (index < entries_.size() && (entries_[index].parent != parent || entries_[index].name != name)) {
    ++index;
  }
  if (index == entries_.size()) entries_.push_back({.name = name, .parent = parent, .work = {}});
  entries_[index].work += work;
  open_.push_back(index);
  return index;
}

size_t ProfileEntries::leave() {
  SSGPT_CHECK(!open_.empty(), "a profile scope ends that did not begin");
  const size_t index = open_.back();
  ++entries_[index].calls;
  open_.pop_back();
  return index;
}

void ProfileEntries::reset() {
  SSGPT_CHECK(open_.empty(), "the profile is reset inside of {} scopes", open_.size());
  for (ProfileEntry& entry : entries_) {
    entry.calls = 0;
    entry.seconds = 0.0;
    entry.work = {};
  }
}

void HostProfile::begin(std::string_view name, const Work& work) {
  entries_.enter(name, work);
  begins_.push_back(Clock::now());
}

void HostProfile::end() {
  const Clock::time_point now = Clock::now();
  const size_t entry = entries_.leave();
  entries_.add_seconds(entry, std::chrono::duration<double>(now - begins_.back()).count());
  begins_.pop_back();
}

}  // namespace ssgpt::core
