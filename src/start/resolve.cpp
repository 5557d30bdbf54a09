#include "start/resolve.h"

#include "checkpoint/checkpoint.h"
#include "config/soundness.h"
#include "core/error.h"
#include "core/file.h"
#include "core/log.h"
#include "run/ownership.h"
#include "run/record.h"
#include "start/data_paths.h"
#include "start/examples.h"
#include "start/rules.h"

#include <algorithm>
#include <utility>

#include <fmt/format.h>

namespace ssgpt::start {
namespace {

namespace fs = std::filesystem;
using config::AttentionKind;
using run::RunDirectory;

bool is_checkpoint(const fs::path& path) {
  return core::exists(path / run::kManifestName) || core::exists(path / "config.json");
}

void refuse_used_directory(const RunDirectory& directory) {
  run::require_own_files(directory);
  if (!directory.holds_run()) return;
  throw core::UsageError(
      "{} already holds a run. Continue it with --resume auto, or choose another --run-dir or run.name.",
      directory.path().string());
}

// `named`: the path that the user gave for it.
checkpoint::Summary read_trained(const fs::path& checkpoint, const fs::path& named) {
  checkpoint::Summary summary = checkpoint::read_summary(checkpoint);
  if (!summary.trainer) {
    throw core::InputError(
        "{} holds a model without trainer/, so a run cannot be resumed from it. Start a new run with its "
        "weights: --init-from {}.",
        named.string(), named.string());
  }
  return summary;
}

// Throws if the folder of a run's checkpoint, or the link to it, names another step than its state.
void require_own_name(const RunDirectory& directory, const fs::path& checkpoint,
                      const checkpoint::TrainerState& state) {
  const fs::path name = directory.checkpoint(state.step).filename();
  if (checkpoint.filename() == name || fs::weakly_canonical(checkpoint).filename() == name) return;
  throw core::InputError(
      "{} holds the checkpoint of step {} (by its trainer/state.json): the folder was renamed. Give it its "
      "name back, {}, or move it out of the run.",
      checkpoint.string(), state.step, name.string());
}

// Throws if the newest checkpoint in a run's directory was saved by another run.
void require_same_run(const RunDirectory& directory, const fs::path& checkpoint,
                      const checkpoint::TrainerState& state) {
  const std::optional<run::Record> record = run::read_record(directory);
  if (!record || record->run_id.empty() || record->run_id == state.run_id) return;
  throw core::InputError(
      "{} was saved by another run (run_id {}) than the one in {} ({}). Move it out of the run; to "
      "continue from it in a new one, use --resume {} with another --run-dir.",
      checkpoint.string(), state.run_id, directory.path().string(), record->run_id, checkpoint.string());
}

// Whether `checkpoint` is the newest one of the run that wrote it, in that run's own directory.
bool is_newest_of_its_run(const fs::path& checkpoint, const checkpoint::TrainerState& state) {
  const std::optional<run::Keeper> keeper = run::keeper_of(checkpoint, state.run_id);
  if (!keeper) return false;
  const std::vector<run::Checkpoint> saved = keeper->directory.complete_checkpoints();
  return !saved.empty() && saved.back().step == state.step &&
         fs::equivalent(saved.back().directory, checkpoint);
}

Start fresh(const Options& options) {
  if (!options.config) throw core::UsageError("--config is missing: a new run needs one (see configs/).");
  if (options.swap_attention) {
    throw core::UsageError(
        "--swap-attention goes with --resume or --init-from. A new run takes its kind from "
        "model.attention.kind; train.swap_attention swaps it at a step.");
  }
  Start start;
  start.config = config::load(*options.config, options.overrides);
  start.data.examples = resolve_epochs(start.config);
  config::resolve_total_steps(start.config);
  refuse_idle_swaps(start.config, /*first_step=*/0);
  start.directory = RunDirectory(options.run_directory.value_or(fs::path("runs") / start.config.run.name));
  start.state.run_id = run::new_run_id();
  return start;
}

Start from_weights(const Options& options) {
  Options resolved = options;
  if (options.swap_attention) {  // the new run starts with this kind, so the config is validated with it
    resolved.overrides.push_back(fmt::format("model.attention.kind={}", to_string(*options.swap_attention)));
    resolved.swap_attention.reset();
  }
  Start start = fresh(resolved);
  start.mode = Mode::kInitFrom;
  start.checkpoint = *options.init_from;
  const checkpoint::Summary summary = checkpoint::read_summary(*start.checkpoint);
  refuse_other_model(summary.spec, start.config, *start.checkpoint);
  const AttentionKind held = summary.spec.config.attention.kind;
  const AttentionKind asked = start.attention_kind();
  if (!options.swap_attention && held != asked) {
    throw core::UsageError(
        "{} has attention kind {}, and the config asks for {}. To swap it, add --swap-attention {}; to keep "
        "it, set model.attention.kind={}.",
        start.checkpoint->string(), to_string(held), to_string(asked), to_string(asked), to_string(held));
  }
  return start;
}

Start new_run(const Options& options) {
  return options.init_from ? from_weights(options) : fresh(options);
}

// Adds to `past` what the run in `directory` did after its checkpoint, before it was stopped: the swaps in
// its config between past.step and the step that it reached, and the end of its schedule. If that config
// cannot be read, they remain unknown.
void find_lost(const RunDirectory& directory, const std::string& run_id, Past& past) {
  const std::optional<run::Record> record = run::read_record(directory);
  if (!record || record->run_id != run_id || !core::exists(directory.config())) return;
  const std::vector<run::Checkpoint> saved = directory.named_checkpoints();
  const int64_t reached = saved.empty() ? past.step : std::max(past.step, saved.back().step);
  try {
    const std::vector<config::SwapAttention>& known = past.config.train.swap_attention;
    const config::Config newest = run::read_config(directory);
    for (const config::SwapAttention& swap : newest.train.swap_attention) {
      const bool was_made = swap.at_step >= past.step && swap.at_step <= reached;
      if (was_made && std::find(known.begin(), known.end(), swap) == known.end()) past.lost.push_back(swap);
    }
    past.lost_total_steps = newest.optimizer.schedule.total_steps;
  } catch (const core::Error& error) {
    core::log::warning("{}; the run continues with the settings of its checkpoint.", error.what());
  }
}

// For a swap at the last step: a new run holds the swapped model, without training it; a run that continues
// would hold two models under one step. Throws core::UsageError for the latter.
void report_idle_swap(const Start& start, bool is_fork) {
  const std::string_view kind = to_string(start.attention_kind());
  const int64_t more = start.state.step + 100;
  if (is_fork) {
    return core::log::warning(
        "{} is complete at step {}, so this run trains no step with {}; it holds the swapped model. To train "
        "it, continue with --resume auto and a larger train.max_steps, as by --set train.max_steps={}.",
        start.checkpoint->string(), start.state.step, kind, more);
  }
  throw core::UsageError(
      "{} is complete at step {}, so there is no step left to train with {}. Raise train.max_steps, as by --set "
      "train.max_steps={}, or swap the checkpoint without training: ssgpt convert.",
      start.directory.path().string(), start.state.step, kind, more);
}

// Resumes from `checkpoint` in `directory`: that of its run, or of a new one.
Start resume_from(const Options& options, const fs::path& checkpoint, checkpoint::Summary summary,
                  const RunDirectory& directory, bool is_fork) {
  Start start;
  start.mode = is_fork ? Mode::kFork : Mode::kContinue;
  start.directory = directory;
  start.checkpoint = checkpoint;
  start.state = std::move(*summary.trainer);
  const std::string origin = (checkpoint / "trainer/state.json").string();
  Past past{.checkpoint = checkpoint,
            .step = start.state.step,
            .config = config::parse(start.state.config, origin),
            .held = summary.spec.config.attention.kind,
            .knows_tokenizer = !start.state.tokenizer_fingerprint.empty() || summary.tokenizer.has_value()};
  config::resolve_total_steps(past.config);
  if (!is_fork) find_lost(directory, start.state.run_id, past);
  if (is_fork) start.state.run_id = run::new_run_id();
  start.config = options.config ? config::load(*options.config, options.overrides)
                                : config::parse(start.state.config, origin, options.overrides);
  keep_choices(start.config, past.config);
  take_paths_from(start.state.directory, past.config, start.config);
  start.data.examples = resolve_epochs(start.config, start.state.steps_per_epoch);
  refuse_idle_swaps(start.config, start.state.step + 1);
  settle_swaps(start.config, past, options.swap_attention);
  refuse_fixed_differences(start.config, past);
  settle_schedule(start.config, past);
  // A swap may need what the rest of the config does not allow.
  config::require_sound(start.config, "the config of the resumed run");
  if (start.attention_kind() != past.held && start.state.step >= start.config.train.max_steps) {
    report_idle_swap(start, is_fork);
  }
  return start;
}

// Continues the run in `directory` from its newest checkpoint, which has been verified.
Start resume_in(const Options& options, const RunDirectory& directory, const run::Checkpoint& newest) {
  checkpoint::Summary summary = read_trained(newest.directory, newest.directory);
  require_own_name(directory, newest.directory, *summary.trainer);
  require_same_run(directory, newest.directory, *summary.trainer);
  Start start = resume_from(options, newest.directory, std::move(summary), directory, /*is_fork=*/false);
  start.checkpoint_is_verified = true;
  return start;
}

RunDirectory directory_of_auto(const Options& options) {
  if (options.run_directory) return RunDirectory(*options.run_directory);
  if (!options.config)
    throw core::UsageError("--resume auto needs --config or --run-dir, to know which run is meant.");
  return RunDirectory(fs::path("runs") / config::load(*options.config, options.overrides).run.name);
}

Start resume_auto(const Options& options, const FindNewest& find_newest) {
  const RunDirectory directory = directory_of_auto(options);
  run::require_own_files(directory);
  const std::optional<run::Checkpoint> newest = find_newest(directory);
  if (newest) return resume_in(options, directory, *newest);
  const std::optional<run::Record> record = run::read_record(directory);
  if (record && !record->beginning.parent.empty() && !options.init_from) {
    throw core::UsageError(
        "{} was started from {} and was stopped before its first checkpoint. Remove it and start it again as "
        "before: {}",
        directory.path().string(), record->beginning.parent, record->command);
  }
  core::log::info("--resume auto: {} holds no checkpoint, so the run starts at its beginning.",
                  directory.path().string());
  Start start = new_run(options);
  start.restarts = directory.holds_run();
  return start;
}

// --resume DIR: either a run, whose newest valid checkpoint is used, or a checkpoint.
Start resume_named(const Options& options, const FindNewest& find_newest) {
  const fs::path named = *options.resume;
  if (!core::is_directory(named)) {
    throw core::InputError(
        "--resume {}: there is no such directory. Give a checkpoint (RUN/checkpoints/step-...), a run "
        "directory, or auto.",
        named.string());
  }
  const auto is_own = [&options](const RunDirectory& directory) {
    return !options.run_directory ||
           (core::exists(*options.run_directory) && core::exists(directory.path()) &&
            fs::equivalent(*options.run_directory, directory.path()));
  };
  if (!is_checkpoint(named)) {
    const RunDirectory directory(named);
    const std::optional<run::Checkpoint> newest = find_newest(directory);
    if (!newest) {
      throw core::InputError("--resume {}: it holds neither a checkpoint nor a run with checkpoints.",
                             named.string());
    }
    if (is_own(directory)) {
      run::require_own_files(directory);
      return resume_in(options, directory, *newest);
    }
    const RunDirectory fork(*options.run_directory);
    refuse_used_directory(fork);
    Start start = resume_from(options, newest->directory, read_trained(newest->directory, named), fork,
                              /*is_fork=*/true);
    start.checkpoint_is_verified = true;
    return start;
  }
  checkpoint::Summary summary = read_trained(named, named);
  const std::optional<run::Keeper> keeper = run::keeper_of(named, summary.trainer->run_id);
  const RunDirectory own =
      keeper ? keeper->directory : RunDirectory(fs::weakly_canonical(named).parent_path().parent_path());
  if (keeper && is_own(own)) {
    run::require_own_files(own);
    require_own_name(own, named, *summary.trainer);
  }
  const bool is_fork = !is_own(own) || !is_newest_of_its_run(named, *summary.trainer);
  if (is_fork && is_own(own)) {
    throw core::UsageError(
        "{} is not the newest checkpoint of the run in {}. Resuming from it forks a new run: name its "
        "directory with --run-dir.",
        named.string(), own.path().string());
  }
  if (is_fork) refuse_used_directory(RunDirectory(*options.run_directory));
  return resume_from(options, named, std::move(summary), is_fork ? RunDirectory(*options.run_directory) : own,
                     is_fork);
}

}  // namespace

Start resolve(const Options& options, const FindNewest& find_newest) {
  const bool automatic = options.resume == "auto";
  if (options.resume && options.init_from && !automatic) {
    throw core::UsageError(
        "--resume continues a run with all its state and --init-from uses weights alone: give one of "
        "them. (With --resume auto, --init-from is where a run without checkpoints begins.)");
  }
  Start start;
  if (options.resume) {
    start = automatic ? resume_auto(options, find_newest) : resume_named(options, find_newest);
  } else {
    start = new_run(options);
    refuse_used_directory(start.directory);
  }
  if (start.state.step > start.config.train.max_steps) {
    throw core::UsageError(
        "{} is at step {}, beyond train.max_steps {}, which is absolute: raise it to train on.",
        start.checkpoint->string(), start.state.step, start.config.train.max_steps);
  }
  return start;
}

}  // namespace ssgpt::start
