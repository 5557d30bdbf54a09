#include "train/run_plan.h"

#include "core/check.h"
#include "core/error.h"
#include "core/log.h"
#include "train/run_directory.h"

#include <algorithm>
#include <utility>

#include <fmt/format.h>
#include <fmt/ranges.h>

namespace ssgpt::train {
namespace {

namespace fs = std::filesystem;
using config::AttentionKind;

// A checkpoint and the run that it belongs to.
struct Source {
  fs::path checkpoint;
  fs::path run_directory;  // two levels up
  checkpoint::Summary summary;
};

bool is_checkpoint(const fs::path& path) {
  return fs::exists(path / "manifest.json") || fs::exists(path / "config.json");
}

// --resume DIR: a checkpoint, or a run, of which the newest valid checkpoint is meant.
Source find_source(const fs::path& path) {
  if (!fs::is_directory(path)) {
    throw core::InputError(
        "--resume {}: there is no such directory. Give a checkpoint (RUN/checkpoints/step-...), a run "
        "directory, or auto.",
        path.string());
  }
  Source source;
  if (is_checkpoint(path)) {
    source.checkpoint = path;
  } else {
    const std::optional<checkpoint::Entry> entry = checkpoint::find_newest_valid(path);
    if (!entry)
      throw core::InputError("--resume {}: it holds neither a checkpoint nor a run with checkpoints.",
                             path.string());
    source.checkpoint = entry->directory;
  }
  const fs::path absolute = fs::weakly_canonical(source.checkpoint);
  source.run_directory = absolute.parent_path().parent_path();
  source.summary = checkpoint::read_summary(source.checkpoint);
  if (!source.summary.trainer) {
    throw core::InputError(
        "{} holds a model without trainer/, so a run cannot be resumed from it. Start a new run with its "
        "weights: --init-from {}.",
        path.string(), path.string());
  }
  return source;
}

// Whether `source` is the newest checkpoint of the run that wrote it, in that run's own directory.
bool is_newest_of_its_run(const Source& source) {
  if (read_run_id(source.run_directory) != source.summary.trainer->run_id) return false;
  const std::vector<checkpoint::Entry> entries = checkpoint::list(source.run_directory);
  return !entries.empty() && entries.back().step == source.summary.trainer->step &&
         fs::equivalent(entries.back().directory, source.checkpoint);
}

void refuse_used_directory(const fs::path& run_directory) {
  if (!holds_run(run_directory)) return;
  throw core::UsageError(
      "{} already holds a run. Continue it with --resume auto, or choose another --run-dir or run.name.",
      run_directory.string());
}

// Differences that a resume must not have. The attention is judged by its kind at the step, not here.
void refuse_fixed_differences(const config::Config& before, const config::Config& after,
                              const fs::path& checkpoint) {
  std::vector<std::string> lines;
  for (const config::Difference& difference : config::differences(before, after)) {
    if (difference.rule == config::ResumeRule::kMayChange || difference.key.starts_with("model.attention."))
      continue;
    lines.push_back(fmt::format("  {}: {} in the checkpoint, {} now", difference.key, difference.before,
                                difference.after));
  }
  if (lines.empty()) return;
  throw core::UsageError(
      "These settings differ from those that {} was trained with, and would change what the run computes:\n"
      "{}\nSet them back to resume, or start a new run with its weights: --init-from.",
      checkpoint.string(), fmt::join(lines, "\n"));
}

// What `auto` stood for when the run began stays.
void inherit_auto(const config::Config& before, config::Config& config) {
  if (config.train.dtype == config::Dtype::kAuto) config.train.dtype = before.train.dtype;
  if (config.train.device == config::Device::kAuto) config.train.device = before.train.device;
}

// The kind that training goes on with after `state`, and the swap that was asked for by hand.
void decide_kind(const TrainOptions& options, AttentionKind held, const checkpoint::TrainerState& state,
                 RunPlan& plan) {
  const std::optional<config::SwapAttention>& scheduled = plan.config.train.swap_attention;
  plan.manual_swap = state.manual_swap;
  if (options.swap_attention) {
    plan.kind = *options.swap_attention;
    if (plan.kind == held) {
      core::log::info("--swap-attention {}: the checkpoint already has this kind, nothing to swap.",
                      to_string(held));
    } else {
      plan.manual_swap = config::SwapAttention{.at_step = state.step, .kind = plan.kind};
    }
    return;
  }
  const bool schedule_is_later = scheduled && scheduled->at_step <= state.step &&
                                 (!state.manual_swap || state.manual_swap->at_step < scheduled->at_step);
  if (state.manual_swap && !schedule_is_later) {
    plan.kind = held;
    return;
  }
  plan.kind = scheduled_kind(plan.config, state.step + 1);
  const bool swap_is_due =
      scheduled && plan.kind == scheduled->kind && held == plan.config.model.attention.kind;
  if (plan.kind == held || swap_is_due) return;
  throw core::UsageError(
      "The checkpoint at step {} has attention kind {}, and the config asks for {} there. Set "
      "model.attention.kind={}, or swap it with --swap-attention {}.",
      state.step, to_string(held), to_string(plan.kind), to_string(held), to_string(plan.kind));
}

RunPlan plan_fresh(const TrainOptions& options) {
  if (!options.config) throw core::UsageError("--config is missing: a new run needs one (see configs/).");
  if (options.swap_attention) {
    throw core::UsageError(
        "--swap-attention goes with --resume or --init-from. A new run takes its kind from "
        "model.attention.kind; train.swap_attention swaps it at a step.");
  }
  RunPlan plan;
  plan.config = config::load(*options.config, options.overrides);
  plan.run_directory = options.run_directory.value_or(fs::path("runs") / plan.config.run.name);
  plan.kind = scheduled_kind(plan.config, 1);
  plan.run_id = new_run_id();
  return plan;
}

void refuse_other_model(const config::ModelConfig& held, const config::ModelConfig& wanted,
                        const fs::path& checkpoint) {
  std::vector<std::string> lines;
  const auto compare = [&lines](const char* key, int64_t a, int64_t b) {
    if (a != b) lines.push_back(fmt::format("  model.{}: {} in the checkpoint, {} in the config", key, a, b));
  };
  compare("vocab_size", held.vocab_size, wanted.vocab_size);
  compare("hidden_size", held.hidden_size, wanted.hidden_size);
  compare("num_hidden_layers", held.num_hidden_layers, wanted.num_hidden_layers);
  compare("num_attention_heads", held.num_attention_heads, wanted.num_attention_heads);
  compare("intermediate_size", held.intermediate_size, wanted.intermediate_size);
  if (!lines.empty()) {
    throw core::UsageError("{} is another model than the config describes:\n{}", checkpoint.string(),
                           fmt::join(lines, "\n"));
  }
  if (held.rope_theta != wanted.rope_theta || held.rms_norm_eps != wanted.rms_norm_eps) {
    core::log::warning(
        "{} was trained with rope_theta {} and rms_norm_eps {}; this run goes on with {} and {}.",
        checkpoint.string(), held.rope_theta, held.rms_norm_eps, wanted.rope_theta, wanted.rms_norm_eps);
  }
}

RunPlan plan_init_from(const TrainOptions& options) {
  TrainOptions without_swap = options;
  without_swap.swap_attention.reset();
  RunPlan plan = plan_fresh(without_swap);
  plan.mode = StartMode::kInitFrom;
  plan.checkpoint = *options.init_from;
  const checkpoint::Summary summary = checkpoint::read_summary(*plan.checkpoint);
  refuse_other_model(summary.spec.config, plan.config.model, *plan.checkpoint);
  const AttentionKind held = summary.spec.config.attention.kind;
  if (options.swap_attention) {
    plan.config.model.attention.kind = *options.swap_attention;
    plan.kind = scheduled_kind(plan.config, 1);
  } else if (held != plan.kind) {
    throw core::UsageError(
        "{} has attention kind {}, and the config asks for {}. To swap it, add --swap-attention {}; to keep "
        "it, set model.attention.kind={}.",
        plan.checkpoint->string(), to_string(held), to_string(plan.kind), to_string(plan.kind),
        to_string(held));
  }
  return plan;
}

RunPlan plan_resume_from(const TrainOptions& options, const Source& source, bool fork) {
  const checkpoint::TrainerState& state = *source.summary.trainer;
  const std::string origin = (source.checkpoint / "trainer/state.json").string();
  const config::Config before = config::parse(state.config, origin);
  RunPlan plan;
  plan.mode = fork ? StartMode::kFork : StartMode::kContinue;
  plan.checkpoint = source.checkpoint;
  plan.first_step = state.step;
  plan.run_id = fork ? new_run_id() : state.run_id;
  plan.config = options.config ? config::load(*options.config, options.overrides)
                               : config::parse(state.config, origin, options.overrides);
  inherit_auto(before, plan.config);
  refuse_fixed_differences(before, plan.config, source.checkpoint);
  decide_kind(options, source.summary.spec.config.attention.kind, state, plan);
  plan.run_directory = fork ? *options.run_directory : source.run_directory;
  return plan;
}

// Continues the run in `run_directory` from its newest valid checkpoint.
RunPlan plan_continue(const TrainOptions& options, const fs::path& run_directory,
                      const checkpoint::Entry& entry) {
  Source source = find_source(entry.directory);
  source.run_directory = run_directory;
  return plan_resume_from(options, source, /*fork=*/false);
}

RunPlan plan_resume_auto(const TrainOptions& options) {
  fs::path run_directory;
  if (options.run_directory) {
    run_directory = *options.run_directory;
  } else if (options.config) {
    run_directory = fs::path("runs") / config::load(*options.config, options.overrides).run.name;
  } else {
    throw core::UsageError("--resume auto needs --config or --run-dir, to know which run is meant.");
  }
  const std::optional<checkpoint::Entry> entry = checkpoint::find_newest_valid(run_directory);
  if (entry) return plan_continue(options, run_directory, *entry);
  core::log::info("--resume auto: {} holds no checkpoint, so the run starts at its beginning.",
                  run_directory.string());
  RunPlan plan = options.init_from ? plan_init_from(options) : plan_fresh(options);
  plan.restarts = holds_run(run_directory);
  return plan;
}

RunPlan plan_resume(const TrainOptions& options) {
  const fs::path path = *options.resume;
  const Source source = find_source(path);
  const bool same_directory =
      !options.run_directory ||
      (fs::exists(*options.run_directory) && fs::equivalent(*options.run_directory, source.run_directory));
  if (same_directory && !is_checkpoint(path)) {
    return plan_continue(options, path,
                         {.step = source.summary.trainer->step, .directory = source.checkpoint});
  }
  const bool fork = !same_directory || !is_newest_of_its_run(source);
  if (fork && same_directory) {
    throw core::UsageError(
        "{} is not the newest checkpoint of the run in {}. Resuming from it forks a new run: name its "
        "directory "
        "with --run-dir.",
        source.checkpoint.string(), source.run_directory.string());
  }
  if (fork) refuse_used_directory(*options.run_directory);
  return plan_resume_from(options, source, fork);
}

}  // namespace

AttentionKind scheduled_kind(const config::Config& config, int64_t step) {
  const std::optional<config::SwapAttention>& swap = config.train.swap_attention;
  return swap && step > swap->at_step ? swap->kind : config.model.attention.kind;
}

RunPlan plan_run(const TrainOptions& options) {
  const bool automatic = options.resume == "auto";
  if (options.resume && options.init_from && !automatic) {
    throw core::UsageError(
        "--resume continues a run with all its state and --init-from takes weights alone: give one of them. "
        "(With "
        "--resume auto, --init-from is where a run without checkpoints begins.)");
  }
  RunPlan plan;
  if (options.resume) {
    plan = automatic ? plan_resume_auto(options) : plan_resume(options);
  } else {
    plan = options.init_from ? plan_init_from(options) : plan_fresh(options);
    refuse_used_directory(plan.run_directory);
  }
  if (plan.first_step > plan.config.train.max_steps) {
    throw core::UsageError(
        "{} is at step {}, beyond train.max_steps {}, which is absolute: raise it to train on.",
        plan.checkpoint->string(), plan.first_step, plan.config.train.max_steps);
  }
  return plan;
}

}  // namespace ssgpt::train
