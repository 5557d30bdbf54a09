#include "start/rules.h"

#include "core/error.h"
#include "core/log.h"
#include "optim/schedule.h"

#include <algorithm>
#include <string>
#include <vector>

#include <fmt/format.h>
#include <fmt/ranges.h>

namespace ssgpt::start {
namespace {

using config::AttentionKind;
using config::SwapAttention;
using Swaps = std::vector<SwapAttention>;

bool contains(const Swaps& swaps, const SwapAttention& swap) {
  return std::find(swaps.begin(), swaps.end(), swap) != swaps.end();
}

// Whether the checkpoint already includes the swap at its own step, by a conversion or as the first
// checkpoint of a fork. Otherwise that swap belongs to the next update.
bool is_swapped_at_its_step(const Past& past) {
  return past.held != config::attention_kind(past.config, past.step) &&
         past.held == config::attention_kind(past.config, past.step + 1);
}

// `config`: the user's; its swaps and kind may predate a swap by hand.
void refuse_another_past(const config::Config& config, const Past& past, const Swaps& behind) {
  const Swaps& asked = config.train.swap_attention;
  const auto ahead = std::find_if(asked.begin(), asked.end(),
                                  [&](const SwapAttention& s) { return s.at_step >= past.step; });
  if (ahead != asked.begin()) {
    const SwapAttention& last = *(ahead - 1);
    if (last.kind == past.held || contains(behind, last)) return;
    throw core::UsageError(
        "train.swap_attention asks for {} after step {}, which is past: {} is at step {}, and its "
        "attention is {}. Swap it now, with --swap-attention {}, or name a later step.",
        to_string(last.kind), last.at_step, past.checkpoint.string(), past.step, to_string(past.held),
        to_string(last.kind));
  }
  const bool swaps_now = ahead != asked.end() && ahead->at_step == past.step;
  const AttentionKind kind = config.model.attention.kind;
  const bool is_from_before_the_swaps = !behind.empty() && kind == past.config.model.attention.kind;
  if (kind == past.held || swaps_now || is_from_before_the_swaps) return;
  throw core::UsageError(
      "The checkpoint at step {} has attention kind {}, and the config asks for {} there. Set "
      "model.attention.kind={}, or swap it with --swap-attention {}.",
      past.step, to_string(past.held), to_string(kind), to_string(past.held), to_string(kind));
}

// Whether the learning rate at any step up to `step` depends on which of the two ends the schedule has.
bool has_shaped(const config::ScheduleConfig& schedule, int64_t step, int64_t one_end, int64_t other_end) {
  const bool wsd = schedule.kind == config::ScheduleKind::kWsd;
  return step > (wsd ? std::min(one_end, other_end) - schedule.decay_steps : schedule.warmup_steps);
}

// Logs how a resume with another number of steps changes the learning rate.
void log_rates(const config::Config& config, const Past& past) {
  const auto rate = [&](const config::Config& of, int64_t step) {
    return optim::learning_rate(of.optimizer, step, of.train.max_steps);
  };
  const int64_t before = *past.config.optimizer.schedule.total_steps;
  const int64_t now = *config.optimizer.schedule.total_steps;
  const int64_t next = past.step + 1;
  if (before != now) {
    core::log::warning(
        "optimizer.schedule.total_steps was {} and is {}: the learning rate is {:g} at step {} and {:g} at "
        "step {}, where it would have been {:g}.",
        before, now, rate(config, past.step), past.step, rate(config, next), next, rate(past.config, next));
    return;
  }
  const int64_t last = config.train.max_steps;
  if (last <= now || last == past.config.train.max_steps) return;
  config::Config stretched = config;
  stretched.optimizer.schedule.total_steps = last;
  core::log::info(
      "The learning rate keeps its schedule, which ends at step {}: it is {:g} at step {}, {:g} at step {} "
      "and {:g} at the last, {}. With optimizer.schedule.total_steps={} it would be {:g} at step {}.",
      now, rate(config, past.step), past.step, rate(config, next), next, rate(config, last), last, last,
      rate(stretched, next), next);
}

}  // namespace

void settle_swaps(config::Config& config, const Past& past, std::optional<AttentionKind> by_hand) {
  const bool swapped = is_swapped_at_its_step(past);
  Swaps behind;
  for (const SwapAttention& swap : past.config.train.swap_attention) {
    if (swap.at_step < past.step || (swap.at_step == past.step && swapped)) behind.push_back(swap);
  }
  if (!by_hand || by_hand == past.held) refuse_another_past(config, past, behind);
  const Swaps asked = config.train.swap_attention;
  config.model.attention.kind = past.config.model.attention.kind;
  config.train.swap_attention = behind;
  for (const SwapAttention& swap : asked) {
    if (swap.at_step > past.step || (swap.at_step == past.step && !swapped)) config::add_swap(config, swap);
  }
  for (const SwapAttention& swap : past.lost) config::add_swap(config, swap);
  if (by_hand == past.held) {
    core::log::info("--swap-attention {}: the checkpoint already has this kind, nothing to swap.",
                    to_string(past.held));
  }
  if (by_hand && by_hand != config::attention_kind(config, past.step + 1)) {
    config::add_swap(config, {.at_step = past.step, .kind = *by_hand});
  }
  for (const SwapAttention& swap : asked) {
    if (swap.at_step > past.step && !contains(config.train.swap_attention, swap)) {
      core::log::info("The swap to {} after step {} would no longer change anything, and is left out.",
                      to_string(swap.kind), swap.at_step);
    }
  }
}

void keep_choices(config::Config& config, const config::Config& before) {
  if (config.train.dtype == config::Dtype::kAuto) config.train.dtype = before.train.dtype;
  if (config.train.device == config::Device::kAuto) config.train.device = before.train.device;
  const config::AttentionBackend backend = before.train.attention_backend;
  if (config.train.attention_backend == config::AttentionBackend::kAuto &&
      backend != config::AttentionBackend::kAuto && !config::obstacle(backend, config)) {
    config.train.attention_backend = backend;
  }
}

void settle_schedule(config::Config& config, const Past& past) {
  config::ScheduleConfig& schedule = config.optimizer.schedule;
  const config::ScheduleConfig& held = past.config.optimizer.schedule;
  schedule.earlier_total_steps = held.earlier_total_steps;
  if (!held.total_steps) return;
  const int64_t before = *held.total_steps;
  const int64_t now = schedule.total_steps.value_or(past.lost_total_steps.value_or(before));
  schedule.total_steps = now;
  std::vector<config::EarlierSchedule>& earlier = schedule.earlier_total_steps;
  if (!earlier.empty() && earlier.back().until_step == past.step) {  // `before` was in force for no step
    if (earlier.back().total_steps == now) earlier.pop_back();
  } else if (now != before && has_shaped(schedule, past.step, before, now)) {
    earlier.push_back({.until_step = past.step, .total_steps = before});
  }
  if (past.step < config.train.max_steps) log_rates(config, past);
}

// Initial values of new parameters matter only if a swap will create some, and settings that only one kind
// reads only if the run has had that kind.
void refuse_fixed_differences(const config::Config& config, const Past& past) {
  const Swaps& swaps = config.train.swap_attention;
  const bool makes_parameters = config::attention_kind(config, past.step + 1) != past.held ||
                                (!swaps.empty() && swaps.back().at_step > past.step);
  std::vector<std::string> lines;
  for (const config::Difference& difference : config::differences(past.config, config)) {
    const bool of_new_parameters = difference.key == "model.attention.scale_init" ||
                                   difference.key == "model.attention.bias_init" ||
                                   difference.key == "model.attention.pn_init";
    const bool of_new_kind =
        !config::any_kind(past.config, config::has_floor) &&
        (difference.key == "model.attention.attn_scale" || difference.key == "model.attention.floor_scale");
    const bool of_a_place = difference.key == "data.train" ||
                            (difference.key == "data.tokenizer" && past.knows_tokenizer &&
                             config.data.tokenizer.has_value() && past.config.data.tokenizer.has_value());
    if (difference.rule == config::ResumeRule::kMayChange || of_a_place || of_new_kind ||
        (makes_parameters && of_new_parameters)) {
      continue;
    }
    lines.push_back(fmt::format("  {}: {} in the checkpoint, {} now", difference.key, difference.before,
                                difference.after));
  }
  if (lines.empty()) return;
  throw core::UsageError(
      "These settings differ from those that {} was trained with, and would change what the run computes:\n"
      "{}\nSet them back to resume, or start a new run with its weights: --init-from.",
      past.checkpoint.string(), fmt::join(lines, "\n"));
}

void refuse_idle_swaps(const config::Config& config, int64_t first_step) {
  for (const SwapAttention& swap : config.train.swap_attention) {
    if (swap.at_step < first_step) continue;
    if (swap.at_step == 0) {
      throw core::UsageError(
          "train.swap_attention: at_step 0 comes before the first update. Set model.attention.kind={} "
          "instead.",
          to_string(swap.kind));
    }
    if (swap.at_step >= config.train.max_steps) {
      throw core::UsageError(
          "train.swap_attention: at_step {} must be below train.max_steps = {}: no update would come after "
          "it.",
          swap.at_step, config.train.max_steps);
    }
  }
}

// For a kind that stays: its row scale may become another function of n through the config's constants.
void warn_of_another_position(const model::GPTSpec& held, const config::Config& wanted,
                              const std::filesystem::path& checkpoint) {
  const config::AttentionKind kind = held.config.attention.kind;
  if (kind != wanted.model.attention.kind || !has_row_scale(kind)) return;
  const auto describe = [](const config::PositionConstants& constants) {
    return fmt::format("sequence_length {}, attn_scale {} and floor_scale {}", constants.trained_length,
                       constants.attn_scale, constants.floor_scale);
  };
  const config::PositionConstants before = model::position_constants(held);
  const config::PositionConstants now =
      config::position_constants(wanted.model.attention, wanted.data.sequence_length);
  const auto far_away = [kind](const config::PositionConstants& constants) {
    return config::initial_position(kind, constants, 2 * config::kMaxFloorScale);
  };
  if (far_away(before) == far_away(now)) return;
  core::log::warning("{} was trained with the row scale {} of {}; this run continues with that of {}.",
                     checkpoint.string(), config::row_of(kind).row_scale, describe(before), describe(now));
}

void refuse_other_model(const model::GPTSpec& held, const config::Config& wanted,
                        const std::filesystem::path& checkpoint) {
  std::vector<std::string> lines;
  const auto compare = [&lines](const char* key, const auto& a, const auto& b) {
    if (a != b) lines.push_back(fmt::format("  {}: {} in the checkpoint, {} in the config", key, a, b));
  };
  compare("model.vocab_size", held.config.vocab_size, wanted.model.vocab_size);
  compare("model.hidden_size", held.config.hidden_size, wanted.model.hidden_size);
  compare("model.num_hidden_layers", held.config.num_hidden_layers, wanted.model.num_hidden_layers);
  compare("model.num_attention_heads", held.config.num_attention_heads, wanted.model.num_attention_heads);
  compare("model.intermediate_size", held.config.intermediate_size, wanted.model.intermediate_size);
  const auto nope = [](const config::ModelConfig& model) {
    return fmt::format("[{}]", fmt::join(model.nope_layers.layers, ", "));
  };
  compare("model.qk_norm", config::to_string(held.config.qk_norm), config::to_string(wanted.model.qk_norm));
  compare("model.nope_layers", nope(held.config), nope(wanted.model));
  compare("model.rope_fraction", held.config.rope_fraction, wanted.model.rope_fraction);
  if (has_learned_position(held.config.attention.kind) && has_learned_position(wanted.model.attention.kind)) {
    compare("data.sequence_length (entries of the learned p_n)", held.sequence_length,
            wanted.data.sequence_length);
  }
  if (!lines.empty()) {
    throw core::UsageError("{} is another model than the config describes:\n{}", checkpoint.string(),
                           fmt::join(lines, "\n"));
  }
  if (held.config.rope_theta != wanted.model.rope_theta ||
      held.config.rms_norm_eps != wanted.model.rms_norm_eps) {
    core::log::warning(
        "{} was trained with rope_theta {} and rms_norm_eps {}; this run continues with {} and {}.",
        checkpoint.string(), held.config.rope_theta, held.config.rms_norm_eps, wanted.model.rope_theta,
        wanted.model.rms_norm_eps);
  }
  warn_of_another_position(held, wanted, checkpoint);
  if (held.document_token_id && !wanted.data.reset_at_document) {
    core::log::warning(
        "The attention of {} ends with a document (token {}). That of this run, and of its checkpoints, does "
        "not.",
        checkpoint.string(), *held.document_token_id);
  }
}

}  // namespace ssgpt::start
