// Which settings change what a run learns. One rule answers three questions: whether the variants of a sweep
// differ, with which settings one of its runs may resume, and which runs a comparison groups together.
#pragma once

#include "config/config.h"

#include <string>

namespace ssgpt::config {

// Whether this difference between two configs changes, beyond rounding, the weights after some step that runs
// of both reach. Keys that a resume must not change do, as do train.swap_attention and the current and
// earlier ends of the learning-rate schedule. train.max_steps does only through a total_steps of auto
// (resolve_total_steps), so resolve both configs first. Names, devices, micro-batches, validation, logging
// and checkpoints do not, nor does train.on_nonfinite: runs that stop and runs that skip differ only after
// one has ended.
bool is_material(const Difference& difference);

// "key: value" lines of all material settings that the config uses: equal texts train to the same weights.
// Where no kind of attention, initial or after a swap, has s, b or p_n, the values of
// model.attention.scale_init, bias_init, pn_init and optimizer.scale_lr_multiplier are ignored.
std::string material_settings(const Config& config);

}  // namespace ssgpt::config
