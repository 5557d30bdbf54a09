// The time that collectives take, and how much of it a GPU's computation stands still for. A GPU's times are
// events in its streams, which are read steps later: nothing here waits.
#pragma once

#include "parallel/collectives.h"

#include <deque>
#include <functional>
#include <utility>
#include <vector>

#include <c10/core/Event.h>
#include <c10/core/Stream.h>
#include <c10/core/impl/VirtualGuardImpl.h>

namespace ssgpt::parallel {

// Time of collectives, seconds: on a CPU that of the host, on a GPU that of its streams.
struct CommunicationTime {
  double exposed = 0.0;  // in which the main thread, or the stream that computes, waited
  double total = 0.0;    // in which at least one was under way
};

// In which a collective was under way, seconds from any one moment on.
struct Interval {
  double begin = 0.0;
  double end = 0.0;
};

// Seconds that lie in at least one of the intervals, which are in the order of their begin.
double covered(const std::vector<Interval>& intervals);

// Of the collectives of one GPU that are started and waited for on the thread's current stream.
class StreamClock {
 public:
  explicit StreamClock(at::Device device);

  // Starts a collective by `start`; the time from when the current stream comes to it until its end counts.
  Pending follow(const std::function<Pending()>& start);

  // Waits for what was started since the last wait, by `wait`; while the current stream is held up counts.
  void wait(const std::function<void()>& wait);

  // Of the waits that the GPU has passed by now.
  CommunicationTime time();

 private:
  struct Span {
    c10::Event begin, end;
  };
  // What was started and then waited for together.
  struct Round {
    std::vector<Span> under_way;
    Span wait;
  };

  c10::Stream current_stream() const { return driver_.getStream(device_); }
  c10::Event event();
  Span span() { return {event(), event()}; }
  static bool is_over(const Round& round);
  void add_finished_rounds();

  const c10::impl::VirtualGuardImpl driver_;
  const at::Device device_;
  // Waits for each collective as soon as it is started, and is held up for as long as that takes.
  const c10::Stream watching_;
  std::vector<c10::Event> unused_;
  std::vector<Span> started_;
  std::deque<Round> rounds_;
  CommunicationTime time_;
};

}  // namespace ssgpt::parallel
