#include "train/trainer.h"

#include "checkpoint/checkpoint.h"
#include "core/error.h"
#include "core/log.h"
#include "core/stop_signal.h"
#include "data/loader.h"
#include "train/data_sources.h"
#include "train/device.h"
#include "train/plan_text.h"
#include "train/recorder.h"
#include "train/run_directory.h"
#include "train/training_step.h"
#include "train/validation.h"

#include <malloc.h>
#include <memory>
#include <optional>
#include <utility>

#include <fmt/format.h>

namespace ssgpt::train {
namespace {

namespace fs = std::filesystem;
using Scope = metrics::PhaseTimers::Scope;

class Trainer {
 public:
  // `start`: what the run goes on from, none for initial values. `state`: as saved, or new with the run's
  // identity.
  Trainer(const RunPlan& plan, DataSources sources, checkpoint::TrainerState state,
          std::optional<checkpoint::Snapshot> start);
  TrainResult run();

 private:
  bool done() const { return step_ >= config_.train.max_steps; }
  bool evaluation_due() const;
  bool checkpoint_due() const;
  void swap_if_due();
  void evaluate();
  void save();
  checkpoint::Snapshot live_snapshot();
  void build_step(const model::GPTSpec& spec);
  Scope scope(Phase phase) { return Scope(timers_, static_cast<size_t>(phase)); }

  const config::Config config_;
  const DataSources sources_;
  const model::Execution execution_;
  const data::WindowSampler sampler_;
  checkpoint::TrainerState state_;
  model::GPTSpec spec_;
  std::unique_ptr<TrainingStep> training_step_;
  Recorder recorder_;
  data::BatchLoader loader_;
  checkpoint::Writer writer_;
  core::StopSignal stop_;
  metrics::PhaseTimers timers_ = make_phase_timers();
  int64_t step_ = 0;  // finished updates
};

data::LoaderOptions loader_options(const config::Config& config, int64_t first_step) {
  return {.sequence_length = config.data.sequence_length,
          .vocab_size = config.model.vocab_size,
          .samples_per_step = config.train.global_batch_size,
          .first_row = 0,
          .rows_per_step = config.train.global_batch_size,
          .micro_batch_size = config.train.micro_batch_size,
          .first_step = first_step};
}

Trainer::Trainer(const RunPlan& plan, DataSources sources, checkpoint::TrainerState state,
                 std::optional<checkpoint::Snapshot> start)
    : config_(plan.config),
      sources_(std::move(sources)),
      execution_(execution_of(plan.config.train)),
      sampler_(plan.config.run.seed, sources_.num_windows),
      state_(std::move(state)),
      recorder_(plan.config, plan.run_directory, execution_.device, state_),
      loader_(sources_.training, sampler_, loader_options(plan.config, plan.first_step)),
      writer_(plan.run_directory,
              {.keep_last = config_.checkpoint.keep_last, .keep_every = config_.checkpoint.keep_every},
              config_.checkpoint.async, config_.checkpoint.verify),
      step_(plan.first_step) {
  model::GPTSpec spec{.config = config_.model,
                      .sequence_length = config_.data.sequence_length,
                      .document_token_id = sources_.document_token_id};
  spec.config.attention.kind = plan.kind;
  build_step(spec);
  if (start) {
    training_step_->load(start->flat);
  } else {
    training_step_->model().parameters().initialize(config_.run.seed);
    training_step_->model().parameters().refresh_compute();
  }
}

void Trainer::build_step(const model::GPTSpec& spec) {
  training_step_.reset();  // before the next is allocated
  spec_ = spec;
  training_step_ = std::make_unique<TrainingStep>(config_, spec, execution_);
}

TrainResult Trainer::run() {
  recorder_.start();
  while (!done()) {
    swap_if_due();
    recorder_.record(training_step_->run(step_ + 1, loader_, timers_), training_step_->model());
    ++step_;
    if (evaluation_due()) evaluate();
    recorder_.finish_step();
    if (checkpoint_due()) save();
    if (stop_.received() != 0) break;
  }
  writer_.wait();
  recorder_.flush();
  log_phase_times(timers_);
  return {.step = step_, .stop_signal = done() ? 0 : stop_.received()};
}

bool Trainer::evaluation_due() const {
  return sources_.validation && (step_ % config_.evaluate.every == 0 || done());
}

bool Trainer::checkpoint_due() const {
  const int64_t every = config_.checkpoint.every;
  return (every > 0 && step_ % every == 0) || done() || stop_.received() != 0;
}

// The swap belongs to the first update after at_step: the checkpoint of at_step itself still has the earlier
// kind.
void Trainer::swap_if_due() {
  const std::optional<config::SwapAttention>& swap = config_.train.swap_attention;
  if (!swap || step_ != swap->at_step || spec_.config.attention.kind == swap->kind) return;
  recorder_.pause();
  core::log::info("Step {}: the attention is swapped from {} to {}.", step_,
                  to_string(spec_.config.attention.kind), to_string(swap->kind));
  config::AttentionConfig attention = config_.model.attention;
  attention.kind = swap->kind;
  const checkpoint::Snapshot swapped = checkpoint::with_attention(live_snapshot(), attention);
  build_step(swapped.spec);
  training_step_->load(swapped.flat);
  recorder_.resume();
}

void Trainer::evaluate() {
  recorder_.pause();
  {
    const Scope timing = scope(Phase::kEvaluate);
    recorder_.record_validation(mean_window_loss(training_step_->model(), *sources_.validation,
                                                 sources_.validation_windows,
                                                 config_.train.micro_batch_size));
  }
  recorder_.resume();
}

void Trainer::save() {
  recorder_.pause();
  {
    const Scope timing = scope(Phase::kCheckpoint);
    recorder_.check_finite();
    recorder_.flush();
    recorder_.save_state(state_);
    writer_.save(live_snapshot());
  }
  recorder_.resume();
}

checkpoint::Snapshot Trainer::live_snapshot() {
  return {.spec = spec_,
          .flat = training_step_->flat_state(),
          .trainer = state_,
          .tokenizer = config_.data.tokenizer};
}

// Freed memory stays with the process: the attention kernel allocates its outputs at every call, and fresh
// pages cost more than the arithmetic on them.
void keep_freed_memory() {
  mallopt(M_MMAP_THRESHOLD, 32 << 20);  // the largest that glibc takes
  mallopt(M_TRIM_THRESHOLD, 1 << 30);
}

// A checkpoint beyond the one that a run goes on from did not verify: it is set aside, not deleted.
void set_aside_later_checkpoints(const fs::path& run_directory, int64_t step) {
  for (const checkpoint::Entry& entry : checkpoint::list(run_directory)) {
    if (entry.step <= step) continue;
    fs::path aside = entry.directory;
    aside += ".damaged";
    fs::remove_all(aside);
    fs::rename(entry.directory, aside);
    core::log::warning("{} is set aside as {}.", entry.directory.string(), aside.filename().string());
  }
}

// Reads what the run goes on from, with the attention that it goes on with.
std::optional<checkpoint::Snapshot> read_start(const RunPlan& plan) {
  if (!plan.checkpoint) return std::nullopt;
  const bool with_optimizer = plan.mode != StartMode::kInitFrom;
  checkpoint::Snapshot snapshot =
      checkpoint::read(*plan.checkpoint, with_optimizer, plan.config.checkpoint.verify);
  config::AttentionConfig attention = plan.config.model.attention;
  attention.kind = plan.kind;
  snapshot.spec.sequence_length = plan.config.data.sequence_length;
  if (snapshot.spec.config.attention.kind == plan.kind) return snapshot;
  core::log::info("The attention of {} is swapped from {} to {}.", plan.checkpoint->string(),
                  to_string(snapshot.spec.config.attention.kind), to_string(plan.kind));
  return checkpoint::with_attention(snapshot, attention);
}

// The state that training goes on with: the checkpoint's for a resumed run, with this run's identity.
checkpoint::TrainerState starting_state(const RunPlan& plan, const DataSources& sources,
                                        const std::optional<checkpoint::Snapshot>& start) {
  const std::string fingerprint = sources.training.fingerprint();
  checkpoint::TrainerState state;
  if (plan.mode == StartMode::kContinue || plan.mode == StartMode::kFork) {
    state = *start->trainer;
    if (state.data_fingerprint != fingerprint) {
      throw core::InputError(
          "The training shards are not those that {} was trained on (fingerprint {}, now {}): the run "
          "would read other data. Restore them, or start a new run with its weights: --init-from.",
          plan.checkpoint->string(), state.data_fingerprint, fingerprint);
    }
  }
  state.run_id = plan.run_id;
  state.data_fingerprint = fingerprint;
  state.dtype = plan.config.train.dtype == config::Dtype::kBfloat16 ? "bfloat16" : "float32";
  state.config = config::dump(plan.config);
  state.manual_swap = plan.manual_swap;
  return state;
}

void prepare_run_directory(const RunPlan& plan, const checkpoint::TrainerState& state, int64_t num_parameters,
                           const std::string& command_line) {
  core::log::add_file(log_path(plan.run_directory));
  if (plan.mode == StartMode::kContinue || plan.restarts) {
    set_aside_later_checkpoints(plan.run_directory, plan.first_step);
    metrics::JsonlSink::truncate_after(metrics_path(plan.run_directory), plan.first_step);
  }
  RunRecord record{.run_id = state.run_id,
                   .command_line = command_line,
                   .data_fingerprint = state.data_fingerprint,
                   .num_parameters = num_parameters,
                   .parent = std::nullopt};
  if (plan.mode == StartMode::kFork || plan.mode == StartMode::kInitFrom)
    record.parent = plan.checkpoint->string();
  write_run_files(plan.run_directory, plan.config, record);
}

}  // namespace

TrainResult train(RunPlan plan, const std::string& command_line) {
  keep_freed_memory();
  if (plan.mode == StartMode::kContinue && plan.first_step == plan.config.train.max_steps) {
    core::log::info("{} is complete: {} of {} steps are done. Raise train.max_steps to train on.",
                    plan.run_directory.string(), plan.first_step, plan.config.train.max_steps);
    return {.step = plan.first_step, .stop_signal = 0};
  }
  DataSources sources = open_data(plan.config);
  resolve_device_and_dtype(plan.config);
  std::optional<checkpoint::Snapshot> start = read_start(plan);
  const checkpoint::TrainerState state = starting_state(plan, sources, start);
  core::create_writable_directory(plan.run_directory);
  const RunLock lock(plan.run_directory);
  prepare_run_directory(plan, state, num_parameters_of(plan), command_line);
  core::log::info("{}", start_text(plan, sources));
  Trainer trainer(plan, std::move(sources), state, std::move(start));
  const TrainResult result = trainer.run();
  if (result.stop_signal != 0) {
    core::log::info("Stopped by signal {} after step {}; saved. Continue with --resume auto.",
                    result.stop_signal, result.step);
  } else {
    core::log::info("Done: {} steps. Results are in {}.", result.step, plan.run_directory.string());
  }
  return result;
}

std::string describe_plan(RunPlan plan) {
  const DataSources sources = open_data(plan.config);
  resolve_device_and_dtype(plan.config);
  if (plan.checkpoint) read_start(plan);
  return config::dump(plan.config) + "\n" + start_text(plan, sources);
}

}  // namespace ssgpt::train
