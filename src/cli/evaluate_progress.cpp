#include "cli/evaluate_progress.h"

#include "cli/commands.h"
#include "core/log.h"
#include "core/progress.h"
#include "core/text.h"

#include <fmt/format.h>

namespace ssgpt::cli {
namespace {

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

}  // namespace

EvaluateProgress::EvaluateProgress()
    : stop_(
          "Stopping once the batch under way is done, with nothing written; a second signal ends it at "
          "once."),
      terminal_(core::stderr_is_terminal()),
      start_(Clock::now()) {}

EvaluateProgress::~EvaluateProgress() {
  if (terminal_) core::clear_progress_line();
}

evaluation::Progress EvaluateProgress::functions() {
  return {.model = [this](const std::string& name, size_t number,
                          size_t count) { begin_model(name, number, count); },
          .batch =
              [this](int64_t done, int64_t total) {
                advance(done, total);
              }};
}

void EvaluateProgress::finish() {
  log_model();
}

void EvaluateProgress::begin_model(const std::string& name, size_t number, size_t count) {
  check_stop();
  log_model();
  name_ = name;
  number_ = number;
  count_ = count;
  share_ = 0.0;
  model_start_ = Clock::now();
  draw();
}

void EvaluateProgress::advance(int64_t done, int64_t total) {
  check_stop();
  share_ = static_cast<double>(done) / static_cast<double>(total);
  if (Clock::now() - last_draw_ >= core::kRedrawPeriod) draw();
}

void EvaluateProgress::draw() {
  if (!terminal_) return;
  last_draw_ = Clock::now();
  const double share = (static_cast<double>(number_) + share_) / static_cast<double>(count_);
  std::string text = fmt::format("model {} of {}: {}, {:.0f} %", number_ + 1, count_, name_, 100.0 * share_);
  // All models take about the same time, so the remaining time follows from the fraction done.
  if (share > 0.0)
    text += fmt::format(", {} left", core::human_duration(seconds_since(start_) * (1.0 - share) / share));
  core::show_progress_line(text);
}

void EvaluateProgress::log_model() const {
  if (terminal_ || count_ == 0) return;
  core::log::info("model {} of {}: {}, {}", number_ + 1, count_, name_,
                  core::human_duration(seconds_since(model_start_)));
}

void EvaluateProgress::check_stop() const {
  if (const int signal = stop_.received()) {
    core::log::info("Stopped on request after {} of {} models; nothing was written.", number_, count_);
    throw Stopped{128 + signal};
  }
}

}  // namespace ssgpt::cli
