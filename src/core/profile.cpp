#include "core/profile.h"

#include "core/check.h"

namespace ssgpt::core {

void HostProfile::begin(std::string_view name, const Work& work) {
  const int64_t parent = open_.empty() ? -1 : static_cast<int64_t>(open_.back().entry);
  size_t index = 0;
  while (index < entries_.size() && (entries_[index].parent != parent || entries_[index].name != name)) {
    ++index;
  }
  if (index == entries_.size()) entries_.push_back({.name = name, .parent = parent, .work = {}});
  entries_[index].work += work;
  open_.push_back({.entry = index, .begin = Clock::now()});
}

void HostProfile::end() {
  const Clock::time_point now = Clock::now();
  SSGPT_CHECK(!open_.empty(), "a profile scope ends that did not begin");
  Entry& entry = entries_[open_.back().entry];
  ++entry.calls;
  entry.seconds += std::chrono::duration<double>(now - open_.back().begin).count();
  open_.pop_back();
}

void HostProfile::reset() {
  SSGPT_CHECK(open_.empty(), "the profile is reset inside of {} scopes", open_.size());
  for (Entry& entry : entries_) {
    entry.calls = 0;
    entry.seconds = 0.0;
    entry.work = {};
  }
}

}  // namespace ssgpt::core
