// Progress of an evaluation of several models, on stderr: a line redrawn in place on a terminal, one log line
// per model elsewhere. Also handles the signals that stop it.
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
  ~EvaluateProgress();  // removes the line
  EvaluateProgress(const EvaluateProgress&) = delete;
  EvaluateProgress& operator=(const EvaluateProgress&) = delete;

  // Callbacks for the comparison, valid while this object lives. They throw Stopped once a signal requested a
  // stop.
  evaluation::Progress functions();

  // Call when all models are done.
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
  size_t number_ = 0;   // index of the current model
  size_t count_ = 0;    // number of models; 0: none begun
  double share_ = 0.0;  // fraction of the current model that is done
};

}  // namespace ssgpt::cli
