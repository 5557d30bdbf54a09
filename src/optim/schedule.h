// Learning rate as a pure function of the step.
#pragma once

#include "config/config.h"

#include <cstdint>

namespace ssgpt::optim {

// Learning rate of update number `step` (1 for the first). Warm-up is linear: lr * step / warmup_steps up to
// warmup_steps.
//   constant: lr.
//   cosine: from lr to min_lr at decay_steps (counted from the first step; 0: at total_steps), min_lr after.
//   wsd: lr, then linear to min_lr over the last decay_steps before total_steps, min_lr after.
// total_steps is that of the schedule, or of the earlier one that `step` belongs to; auto: `max_steps`.
double learning_rate(const config::OptimizerConfig& optimizer, int64_t step, int64_t max_steps);

}  // namespace ssgpt::optim
