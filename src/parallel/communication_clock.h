// Time spent in collectives, and the part of it for which computation is stalled. GPU times come from events
// in its streams that are read some steps later: nothing here waits.
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

// Seconds in collectives: host time on a CPU, stream time on a GPU.
struct CommunicationTime {
  double exposed = 0.0;  // the main thread, or the compute stream, was waiting
  double total = 0.0;    // at least one collective was in flight or waited for
};

// Time during which a collective was in flight, in seconds from an arbitrary origin.
struct Interval {
  double begin = 0.0;
  double end = 0.0;
};

// Total length, in seconds, of the union of the intervals, which are sorted by their begin.
double covered(const std::vector<Interval>& intervals);

// Measures the collectives of one GPU that are started and waited for on the thread's current stream.
class StreamClock {
 public:
  explicit StreamClock(at::Device device);

  // Calls `start`, which starts a collective, and times it from when the current stream reaches it until it
  // ends.
  Pending follow(const std::function<Pending()>& start);

  // Calls `wait`, which waits for everything started since the last wait, and times how long the current
  // stream is stalled.
  void wait(const std::function<void()>& wait);

  // Totals over the waits that the GPU has passed so far.
  CommunicationTime time();

 private:
  struct Span {
    c10::Event begin, end;
  };
  // Collectives that were started, then waited for together.
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
  // Waits for each collective as soon as it is started, so that it is stalled exactly as long as that takes.
  const c10::Stream watching_;
  std::vector<c10::Event> unused_;
  std::vector<Span> started_;
  std::deque<Round> rounds_;
  CommunicationTime time_;
};

}  // namespace ssgpt::parallel
