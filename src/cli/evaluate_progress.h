// How far an evaluation of several models is, on stderr: a line redrawn in place on a terminal, a line a
// model elsewhere; and the signals that stop it.
#pragma once

#include "core/stop_signal.h"
#include "evaluation/compare_models.h"

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>

namespace ssgpt::cli {

class EvaluateProgress {
 public:
  EvaluateProgress();
  ~EvaluateProgress();  // takes the line off
  EvaluateProgress(const EvaluateProgress&) = delete;
  EvaluateProgress& operator=(const EvaluateProgress&) = delete;

  // For the comparison, while this object lives. They throw Stopped once a signal asked for a stop.
  evaluation::Progress functions();

  // All models are done.
  void finish();

 private:
  using Clock = std::chrono::steady_clock;

  void begin_model(const std::string& name, size_t number, size_t count);
  void advance(int64_t done, int64_t total);
  void draw();
  void log_model() const;
  void check_stop() const;

  core::StopSignal stop_;
  const bool terminal_;
  const Clock::time_point start_;
  Clock::time_point model_start_;
  Clock::time_point last_draw_;
  std::string name_;
  size_t number_ = 0;   // of the model that is measured
  size_t count_ = 0;    // of all models; 0: none was begun
  double share_ = 0.0;  // of this model that is done
};

}  // namespace ssgpt::cli
