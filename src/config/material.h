// Which settings change what a run learns. One rule for three questions: whether the variants of a sweep
// differ, with which settings a run of it may go on, and which runs a comparison takes together.
#pragma once

#include "config/config.h"

#include <string>

namespace ssgpt::config {

// Whether this difference between two configs changes the weights after some step that runs of both reach,
// but for rounding. What a resume must not change does, and so do train.swap_attention and where the learning
// rate's schedule ends, now and earlier; train.max_steps does where total_steps, still auto, stands for it
// (resolve_total_steps), so resolve both configs first. Names, devices, micro-batches, validation, logging
// and checkpoints do not, nor does train.on_nonfinite: runs that stop and runs that skip part only where one
// has ended.
bool is_material(const Difference& difference);

// "key: value" lines of all material settings that the config makes use of: equal texts train to the same
// weights. Of a kind of attention that has no s, b or learned parameter, at the start or after a swap,
// model.attention.scale_init, bias_init, pn_init and optimizer.scale_lr_multiplier say nothing.
std::string material_settings(const Config& config);

}  // namespace ssgpt::config
