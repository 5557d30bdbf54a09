#include "parallel/communication_clock.h"

#include "device/index.h"

#include <algorithm>
#include <limits>

#include <c10/core/StreamGuard.h>

namespace ssgpt::parallel {
namespace {

constexpr double kSecondsPerMillisecond = 1e-3;

}  // namespace

double covered(const std::vector<Interval>& intervals) {
  double seconds = 0.0;
  double busy_until = -std::numeric_limits<double>::infinity();
  for (const Interval& interval : intervals) {
    seconds += std::max(0.0, interval.end - std::max(busy_until, interval.begin));
    busy_until = std::max(busy_until, interval.end);
  }
  return seconds;
}

StreamClock::StreamClock(at::Device device)
    : driver_(device.type()),
      device_(device::with_index(device)),
      watching_(driver_.getStreamFromGlobalPool(device_)) {}

c10::Event StreamClock::event() {
  // Events with the default flag record no time.
  if (unused_.empty()) return {device_.type(), c10::EventFlag::BACKEND_DEFAULT};
  c10::Event event = std::move(unused_.back());
  unused_.pop_back();
  return event;
}

Pending StreamClock::follow(const std::function<Pending()>& start) {
  Span span = this->span();
  span.begin.record(current_stream());
  Pending pending = start();
  {
    const c10::StreamGuard guard(watching_);
    pending.wait();
    span.end.record(watching_);
  }
  started_.push_back(std::move(span));
  return pending;
}

void StreamClock::wait(const std::function<void()>& wait) {
  Round round{.under_way = std::move(started_), .wait = span()};
  started_.clear();
  round.wait.begin.record(current_stream());
  wait();
  round.wait.end.record(current_stream());
  rounds_.push_back(std::move(round));
  add_finished_rounds();
}

CommunicationTime StreamClock::time() {
  add_finished_rounds();
  return time_;
}

// The watching stream may reach its last event just after the compute stream has moved on.
bool StreamClock::is_over(const Round& round) {
  return round.wait.end.query() && (round.under_way.empty() || round.under_way.back().end.query());
}

void StreamClock::add_finished_rounds() {
  while (!rounds_.empty() && is_over(rounds_.front())) {
    Round& round = rounds_.front();
    time_.exposed += kSecondsPerMillisecond * round.wait.begin.elapsedTime(round.wait.end);
    std::vector<Interval> intervals;
    for (const Span& span : round.under_way) {
      const c10::Event& first = round.under_way.front().begin;
      intervals.push_back({.begin = kSecondsPerMillisecond * first.elapsedTime(span.begin),
                           .end = kSecondsPerMillisecond * first.elapsedTime(span.end)});
    }
    time_.total += covered(intervals);
    round.under_way.push_back(std::move(round.wait));
    for (Span& span : round.under_way) {
      unused_.push_back(std::move(span.begin));
      unused_.push_back(std::move(span.end));
    }
    rounds_.pop_front();
  }
}

}  // namespace ssgpt::parallel
