// How a run may differ from the checkpoint that it begins from, and what it inherits from it. Works on
// configs and models, not on files.
#pragma once

#include "config/config.h"
#include "model/gpt.h"

#include <cstdint>
#include <filesystem>
#include <optional>
#include <vector>

namespace ssgpt::start {

// History of the training that is resumed.
struct Past {
  std::filesystem::path checkpoint;
  int64_t step = 0;            // finished updates
  config::Config config;       // the checkpoint was trained with it
  config::AttentionKind held;  // kind of the checkpoint's model
  // Swaps at or after `step` that the run had already made, but that its newest valid checkpoint does not
  // include: a process was killed before it saved, or the later checkpoint is damaged.
  std::vector<config::SwapAttention> lost = {};
  bool knows_tokenizer = false;  // by a fingerprint, or by the copy in its checkpoint
  // optimizer.schedule.total_steps of the run's newest session, if its checkpoint does not have it.
  std::optional<int64_t> lost_total_steps = {};
};

// Makes train.swap_attention of `config`, as the user gives it now, that of the whole run: swaps before
// `past.step` stay as they happened, later ones are as requested, and `by_hand` happens now; if it is the
// kind already held, no other swap happens now. Throws core::UsageError if `config` contradicts the kind of
// past steps.
void settle_swaps(config::Config& config, const Past& past, std::optional<config::AttentionKind> by_hand);

// Keeps what `auto` resolved to when the run began; the backend only if it supports what the run needs now.
void keep_choices(config::Config& config, const config::Config& before);

// Keeps the end of the learning-rate schedule whatever train.max_steps is now, unless `config` names another
// optimizer.schedule.total_steps; in that case the old end, if it has shaped past steps, is added to
// earlier_total_steps. Logs the learning rate at the next step if total_steps, or a train.max_steps beyond
// it, has changed. Both configs must have the same kind of schedule, and that of `past` must be resolved
// (config::resolve_total_steps).
void settle_schedule(config::Config& config, const Past& past);

// Throws core::UsageError that lists the settings of `config` that a resume must not change. Its swaps must
// be settled. The paths of shards and tokenizer may change; comparing their contents, which must not change,
// is left to the code that opens them, except for a tokenizer of which nothing is known.
void refuse_fixed_differences(const config::Config& config, const Past& past);

// Throws core::UsageError if a requested swap would never take effect: at no step of the run, or at its
// beginning or end. `first_step`: finished updates; swaps before it are ignored.
void refuse_idle_swaps(const config::Config& config, int64_t first_step);

// Throws core::UsageError if weights of `held` cannot be used in the model that `wanted` describes; warns of
// settings that change what they compute.
void refuse_other_model(const model::GPTSpec& held, const config::Config& wanted,
                        const std::filesystem::path& checkpoint);

}  // namespace ssgpt::start
