#include "parallel/step_pace.h"

#include <algorithm>
#include <vector>

namespace ssgpt::parallel {

void StepPace::end_step(Time now) {
  if (ended_at_) times_.push_back(now - *ended_at_);
  if (times_.size() > kRemembered) times_.pop_front();
  ended_at_ = now;
  waited_ = Seconds(0.0);
}

bool StepPace::is_too_long() const {
  constexpr Seconds kLeast{10.0};
  constexpr double kUsualSteps = 10.0;
  if (!ended_at_) return false;
  Seconds usual{0.0};
  if (!times_.empty()) {
    std::vector<Seconds> times(times_.begin(), times_.end());
    const auto middle = times.begin() + static_cast<std::ptrdiff_t>(times.size() / 2);
    std::nth_element(times.begin(), middle, times.end());
    usual = *middle;
  }
  return waited_ > std::max<Seconds>(kLeast, kUsualSteps * usual);
}

}  // namespace ssgpt::parallel
