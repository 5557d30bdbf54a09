#include "metrics/live_line.h"

#include "core/progress.h"

namespace ssgpt::metrics {
namespace {

constexpr std::chrono::seconds kLinePeriod{10};

}  // namespace

LiveLine::LiveLine(bool shown) : shown_(shown) {}

LiveLine::~LiveLine() {
  if (shown_) core::clear_progress_line();
}

void LiveLine::start(Clock::time_point now) {
  throughput_.start(now);
  last_line_ = now;
}

void LiveLine::add(int64_t tokens, Clock::time_point now) {
  throughput_.add(tokens, now);
}

void LiveLine::pause(Clock::time_point now) {
  throughput_.pause(now);
}

void LiveLine::resume(Clock::time_point now) {
  throughput_.resume(now);
}

bool LiveLine::line_stays(bool must, Clock::time_point now) {
  if (shown_ && !must && now - last_line_ < kLinePeriod) return false;
  last_line_ = now;
  last_draw_ = {};  // a permanent line has overwritten the live one
  return true;
}

void LiveLine::draw(ConsoleFigures known, int64_t step, Clock::time_point now) {
  if (!shown_ || now - last_draw_ < core::kRedrawPeriod) return;
  last_draw_ = now;
  known.step = step;
  known.tokens_per_second = throughput_.tokens_per_second();
  if (const auto seconds = throughput_.seconds_per_step()) {
    known.eta_seconds = *seconds * static_cast<double>(known.max_steps - step);
  }
  core::show_progress_line(format_live_line(known));
}

}  // namespace ssgpt::metrics
