#include "optim/schedule.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace ssgpt::optim {

namespace {

// Completed fraction of an interval of steps at `step`, in [0, 1]. An empty interval is always complete.
double progress(int64_t step, int64_t first, int64_t last) {
  if (last <= first) {
    return step >= last ? 1.0 : 0.0;
  }
  return std::clamp(static_cast<double>(step - first) / static_cast<double>(last - first), 0.0, 1.0);
}

// The end of the schedule that `step` belongs to.
int64_t total_steps_at(const config::ScheduleConfig& schedule, int64_t step, int64_t max_steps) {
  for (const config::EarlierSchedule& earlier : schedule.earlier_total_steps) {
    if (step <= earlier.until_step) return earlier.total_steps;
  }
  return schedule.total_steps.value_or(max_steps);
}

}  // namespace

double learning_rate(const config::OptimizerConfig& optimizer, int64_t step, int64_t max_steps) {
  const config::ScheduleConfig& schedule = optimizer.schedule;
  if (step < schedule.warmup_steps) {
    return optimizer.lr * static_cast<double>(step) / static_cast<double>(schedule.warmup_steps);
  }
  const int64_t total = total_steps_at(schedule, step, max_steps);
  switch (schedule.kind) {
    case config::ScheduleKind::kConstant:
      break;
    case config::ScheduleKind::kCosine: {
      const int64_t last = schedule.decay_steps > 0 ? schedule.decay_steps : total;
      const double done = progress(step, schedule.warmup_steps, last);
      if (done >= 1.0) {
        return schedule.min_lr;
      }
      return schedule.min_lr +
             (optimizer.lr - schedule.min_lr) * 0.5 * (1.0 + std::cos(std::numbers::pi * done));
    }
    case config::ScheduleKind::kWsd: {
      const double done = progress(step, total - schedule.decay_steps, total);
      if (schedule.decay_steps > 0 && done >= 1.0) {
        return schedule.min_lr;
      }
      return schedule.decay_steps > 0 ? optimizer.lr + (schedule.min_lr - optimizer.lr) * done : optimizer.lr;
    }
  }
  return optimizer.lr;
}

}  // namespace ssgpt::optim
