// What a run that begins from a checkpoint may have otherwise than that checkpoint, and what it takes over
// from it. Knows configs and models, no files.
#pragma once

#include "config/config.h"
#include "model/gpt.h"

#include <cstdint>
#include <filesystem>
#include <optional>
#include <vector>

namespace ssgpt::start {

// What a run had trained with that goes on.
struct Past {
  std::filesystem::path checkpoint;
  int64_t step = 0;            // finished updates
  config::Config config;       // that the checkpoint was trained with
  config::AttentionKind held;  // of the checkpoint's model
  // Swaps from `step` on that the run had made already, and that its newest sound checkpoint does not know
  // of: a process was killed before it saved, or what it saved is damaged.
  std::vector<config::SwapAttention> lost = {};
  bool knows_tokenizer = false;  // by a fingerprint, or by the copy that its checkpoint carries
  // optimizer.schedule.total_steps that the run's newest session had, where its checkpoint does not know of
  // it.
  std::optional<int64_t> lost_total_steps = {};
};

// Makes train.swap_attention of `config`, as the user asks for it now, that of the whole run: what lies
// behind `past.step` stays as it happened, what lies ahead is as asked, and `by_hand` comes now; where it is
// the kind that is held, no other swap comes now. Throws core::UsageError where `config` takes another kind
// for what lies behind.
void settle_swaps(config::Config& config, const Past& past, std::optional<config::AttentionKind> by_hand);

// What `auto` stood for when the run began stays; a backend only where it can what the run asks for now.
void keep_choices(config::Config& config, const config::Config& before);

// The schedule of the learning rate ends where it did, whatever train.max_steps is now, unless `config` names
// another optimizer.schedule.total_steps; then what has shaped the steps behind is added to
// earlier_total_steps. Says what the rate is at the next step wherever total_steps, or a train.max_steps
// beyond it, is another than before. Both configs are of the same kind of schedule, and that of `past` is
// resolved (config::resolve_total_steps).
void settle_schedule(config::Config& config, const Past& past);

// Throws core::UsageError that lists the settings of `config` that a resume must not change. Its swaps are
// settled. Where shards and tokenizer lie may change: what they hold, which must not, is for whoever opens
// them to compare, but for a tokenizer that nothing is known of.
void refuse_fixed_differences(const config::Config& config, const Past& past);

// Throws core::UsageError where the swaps that the config asks for would never come: at no step of the run,
// or at its beginning or end. `first_step`: finished updates; what lies behind is passed over.
void refuse_idle_swaps(const config::Config& config, int64_t first_step);

// Throws core::UsageError where weights of `held` cannot be those of the model that `wanted` describes; warns
// of settings that change what they compute.
void refuse_other_model(const model::GPTSpec& held, const config::Config& wanted,
                        const std::filesystem::path& checkpoint);

}  // namespace ssgpt::start
