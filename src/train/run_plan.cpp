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
  bool is_verified = false;
  checkpoint::Summary summary;
};

bool is_checkpoint(const fs::path& path) {
  return fs::exists(path / "manifest.json") || fs::exists(path / "config.json");
}

// Rank 0 looks, since every byte of a checkpoint is read for it, and tells the others.
std::optional<checkpoint::Entry> find_newest(const fs::path& run_directory, parallel::Board& board) {
  const std::string found = board.from_rank_zero("newest checkpoint", [&]() -> std::string {
    const std::optional<checkpoint::Entry> entry = checkpoint::find_newest_valid(run_directory);
    return entry ? fmt::format("{} {}", entry->step, entry->directory.string()) : "none";
  });
  if (found == "none") return std::nullopt;
  const size_t blank = found.find(' ');
  return checkpoint::Entry{.step = std::stoll(found.substr(0, blank)), .directory = found.substr(blank + 1)};
}

// --resume DIR: a checkpoint, or a run, of which the newest valid checkpoint is meant.
Source find_source(const fs::path& path, parallel::Board& board) {
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
    const std::optional<checkpoint::Entry> entry = find_newest(path, board);
    if (!entry)
      throw core::InputError("--resume {}: it holds neither a checkpoint nor a run with checkpoints.",
                             path.string());
    source.checkpoint = entry->directory;
    source.is_verified = true;
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
  const std::optional<RunRecord> record = read_run_record(source.run_directory);
  if (!record || record->run_id != source.summary.trainer->run_id) return false;
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

// Differences that a resume must not have. The attention's kind is judged at its step, not here; how new
// parameters start matters only where a swap will make some.
void refuse_fixed_differences(const config::Config& before, const config::Config& after, bool swaps,
                              const fs::path& checkpoint) {
  std::vector<std::string> lines;
  for (const config::Difference& difference : config::differences(before, after)) {
    const bool of_new_parameters =
        difference.key == "model.attention.scale_init" || difference.key == "model.attention.bias_init";
    if (difference.rule == config::ResumeRule::kMayChange || difference.key == "model.attention.kind" ||
        (swaps && of_new_parameters)) {
      continue;
    }
    lines.push_back(fmt::format("  {}: {} in the checkpoint, {} now", difference.key, difference.before,
                                difference.after));
  }
  if (lines.empty()) return;
  throw core::UsageError(
      "These settings differ from those that {} was trained with, and would change what the run computes:\n"
      "{}\nSet them back to resume, or start a new run with its weights: --init-from.",
      checkpoint.string(), fmt::join(lines, "\n"));
}

// What `auto` stood for when the run began stays; a backend only where it can what the run asks for now.
void inherit_auto(const config::Config& before, config::Config& config) {
  if (config.train.dtype == config::Dtype::kAuto) config.train.dtype = before.train.dtype;
  if (config.train.device == config::Device::kAuto) config.train.device = before.train.device;
  const config::AttentionBackend backend = before.train.attention_backend;
  if (config.train.attention_backend == config::AttentionBackend::kAuto &&
      backend != config::AttentionBackend::kAuto && !config::obstacle(backend, config)) {
    config.train.attention_backend = backend;
  }
}

std::optional<config::SwapAttention> later(const std::optional<config::SwapAttention>& a,
                                           const std::optional<config::SwapAttention>& b) {
  if (!a || !b) return a ? a : b;
  return b->at_step > a->at_step ? b : a;
}

// The swap that is in force in update `update`.
std::optional<config::SwapAttention> swap_before(const config::Config& config,
                                                 const std::optional<config::SwapAttention>& manual_swap,
                                                 int64_t update) {
  const auto due = [update](const std::optional<config::SwapAttention>& swap) {
    return swap && swap->at_step < update ? swap : std::nullopt;
  };
  return later(due(manual_swap), due(config.train.swap_attention));
}

// The kind that training goes on with after step `step`, where the checkpoint holds `held`, and the swap by
// hand.
void decide_kind(const TrainOptions& options, AttentionKind held, int64_t step, RunPlan& plan) {
  if (options.swap_attention == held) {
    core::log::info("--swap-attention {}: the checkpoint already has this kind, nothing to swap.",
                    to_string(held));
  } else if (options.swap_attention) {
    plan.manual_swap = config::SwapAttention{.at_step = step, .kind = *options.swap_attention};
  }
  plan.kind = kind_of_update(plan.config, plan.manual_swap, step + 1);
  if (options.swap_attention == held) plan.kind = held;
  if (plan.kind == held || swap_before(plan.config, plan.manual_swap, step + 1)) return;
  throw core::UsageError(
      "The checkpoint at step {} has attention kind {}, and the config asks for {} there. Set "
      "model.attention.kind={}, or swap it with --swap-attention {}.",
      step, to_string(held), to_string(plan.kind), to_string(held), to_string(plan.kind));
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
  plan.kind = kind_of_update(plan.config, plan.manual_swap, 1);
  plan.run_id = new_run_id();
  return plan;
}

// `wanted`: the run's config, with the kind that it starts with.
void refuse_other_model(const model::GPTSpec& held, const config::Config& wanted,
                        const fs::path& checkpoint) {
  std::vector<std::string> lines;
  const auto compare = [&lines](const char* key, int64_t a, int64_t b) {
    if (a != b) lines.push_back(fmt::format("  {}: {} in the checkpoint, {} in the config", key, a, b));
  };
  compare("model.vocab_size", held.config.vocab_size, wanted.model.vocab_size);
  compare("model.hidden_size", held.config.hidden_size, wanted.model.hidden_size);
  compare("model.num_hidden_layers", held.config.num_hidden_layers, wanted.model.num_hidden_layers);
  compare("model.num_attention_heads", held.config.num_attention_heads, wanted.model.num_attention_heads);
  compare("model.intermediate_size", held.config.intermediate_size, wanted.model.intermediate_size);
  if (held.config.attention.kind == AttentionKind::kLearnedPn &&
      wanted.model.attention.kind == AttentionKind::kLearnedPn) {
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
        "{} was trained with rope_theta {} and rms_norm_eps {}; this run goes on with {} and {}.",
        checkpoint.string(), held.config.rope_theta, held.config.rms_norm_eps, wanted.model.rope_theta,
        wanted.model.rms_norm_eps);
  }
}

RunPlan plan_init_from(const TrainOptions& options) {
  TrainOptions resolved = options;
  if (options.swap_attention) {  // the new run has this kind from its start: the config is validated with it
    resolved.overrides.push_back(fmt::format("model.attention.kind={}", to_string(*options.swap_attention)));
    resolved.swap_attention.reset();
  }
  RunPlan plan = plan_fresh(resolved);
  plan.mode = StartMode::kInitFrom;
  plan.checkpoint = *options.init_from;
  const checkpoint::Summary summary = checkpoint::read_summary(*plan.checkpoint);
  refuse_other_model(summary.spec, plan.config, *plan.checkpoint);
  const AttentionKind held = summary.spec.config.attention.kind;
  if (!options.swap_attention && held != plan.kind) {
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
  plan.checkpoint_is_verified = source.is_verified;
  plan.first_step = state.step;
  plan.run_id = fork ? new_run_id() : state.run_id;
  plan.config = options.config ? config::load(*options.config, options.overrides)
                               : config::parse(state.config, origin, options.overrides);
  inherit_auto(before, plan.config);
  plan.manual_swap = state.manual_swap;
  // A swap by hand that was killed before its first checkpoint stands in the run's record alone.
  const std::optional<RunRecord> record = read_run_record(source.run_directory);
  if (!fork && record) plan.manual_swap = later(plan.manual_swap, record->manual_swap);
  const AttentionKind held = source.summary.spec.config.attention.kind;
  decide_kind(options, held, state.step, plan);
  const std::optional<config::SwapAttention>& scheduled = plan.config.train.swap_attention;
  const bool swaps = plan.kind != held || (scheduled && scheduled->at_step >= state.step);
  refuse_fixed_differences(before, plan.config, swaps, source.checkpoint);
  if (!fork && plan.kind != held && state.step >= plan.config.train.max_steps) {
    throw core::UsageError(
        "{} is complete at step {}, so there is no step left to train with {}. Raise train.max_steps, or "
        "swap the "
        "checkpoint without training: ssgpt convert.",
        source.run_directory.string(), state.step, to_string(plan.kind));
  }
  plan.run_directory = fork ? *options.run_directory : source.run_directory;
  return plan;
}

// Continues the run in `run_directory` from `entry`, its newest checkpoint that verifies.
RunPlan plan_continue(const TrainOptions& options, const fs::path& run_directory,
                      const checkpoint::Entry& entry, parallel::Board& board) {
  Source source = find_source(entry.directory, board);
  source.run_directory = run_directory;
  source.is_verified = true;
  return plan_resume_from(options, source, /*fork=*/false);
}

RunPlan plan_resume_auto(const TrainOptions& options, parallel::Board& board) {
  fs::path run_directory;
  if (options.run_directory) {
    run_directory = *options.run_directory;
  } else if (options.config) {
    run_directory = fs::path("runs") / config::load(*options.config, options.overrides).run.name;
  } else {
    throw core::UsageError("--resume auto needs --config or --run-dir, to know which run is meant.");
  }
  const std::optional<checkpoint::Entry> entry = find_newest(run_directory, board);
  if (entry) return plan_continue(options, run_directory, *entry, board);
  const std::optional<RunRecord> record = read_run_record(run_directory);
  if (record && record->parent && !options.init_from) {
    throw core::UsageError(
        "{} was started from {} and was stopped before its first checkpoint. Remove it and start it again as "
        "before: {}",
        run_directory.string(), *record->parent, record->command_line);
  }
  core::log::info("--resume auto: {} holds no checkpoint, so the run starts at its beginning.",
                  run_directory.string());
  RunPlan plan = options.init_from ? plan_init_from(options) : plan_fresh(options);
  plan.restarts = holds_run(run_directory);
  return plan;
}

RunPlan plan_resume(const TrainOptions& options, parallel::Board& board) {
  const fs::path path = *options.resume;
  const Source source = find_source(path, board);
  const bool same_directory =
      !options.run_directory ||
      (fs::exists(*options.run_directory) && fs::equivalent(*options.run_directory, source.run_directory));
  if (same_directory && !is_checkpoint(path)) {
    return plan_continue(options, path,
                         {.step = source.summary.trainer->step, .directory = source.checkpoint}, board);
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

AttentionKind kind_of_update(const config::Config& config,
                             const std::optional<config::SwapAttention>& manual_swap, int64_t update) {
  const std::optional<config::SwapAttention> swap = swap_before(config, manual_swap, update);
  return swap ? swap->kind : config.model.attention.kind;
}

RunPlan plan_run(const TrainOptions& options, parallel::Board& board) {
  const bool automatic = options.resume == "auto";
  if (options.resume && options.init_from && !automatic) {
    throw core::UsageError(
        "--resume continues a run with all its state and --init-from takes weights alone: give one of them. "
        "(With "
        "--resume auto, --init-from is where a run without checkpoints begins.)");
  }
  RunPlan plan;
  if (options.resume) {
    plan = automatic ? plan_resume_auto(options, board) : plan_resume(options, board);
  } else {
    plan = options.init_from ? plan_init_from(options) : plan_fresh(options);
    refuse_used_directory(plan.run_directory);
  }
  if (plan.first_step > plan.config.train.max_steps) {
    throw core::UsageError(
        "{} is at step {}, beyond train.max_steps {}, which is absolute: raise it to train on.",
        plan.checkpoint->string(), plan.first_step, plan.config.train.max_steps);
  }
  plan.run_id = board.from_rank_zero("run id", [&] { return plan.run_id; });
  return plan;
}

}  // namespace ssgpt::train
