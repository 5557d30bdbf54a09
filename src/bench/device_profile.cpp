#include "bench/device_profile.h"

#include "core/check.h"

#include <algorithm>

namespace ssgpt::bench {

void DeviceProfile::begin(std::string_view name, const core::Work& work) {
  entries_.enter(name, work);
  begins_.push_back(marks_->set());
}

void DeviceProfile::end() {
  const size_t entry = entries_.leave();
  spans_.push_back({.entry = entry, .begin = begins_.back(), .end = marks_->set()});
  begins_.pop_back();
}

double DeviceProfile::collect() {
  SSGPT_CHECK(begins_.empty(), "the profile is read inside of {} scopes", begins_.size());
  if (spans_.empty()) return 0.0;
  marks_->wait();
  for (const Span& span : spans_) entries_.add_seconds(span.entry, marks_->seconds(span.begin, span.end));
  const double seconds = marks_->seconds(0, spans_.back().end);  // the scope that ends last has the last mark
  spans_.clear();
  marks_->clear();
  return seconds;
}

}  // namespace ssgpt::bench
