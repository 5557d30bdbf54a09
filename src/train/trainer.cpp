#include "train/trainer.h"

#include "checkpoint/checkpoint.h"
#include "core/error.h"
#include "core/file.h"
#include "core/log.h"
#include "core/profile.h"
#include "core/stop_signal.h"
#include "data/loader.h"
#include "kernels/cuda/nvtx.h"
#include "parallel/error_text.h"
#include "parallel/weights_check.h"
#include "train/data_sources.h"
#include "train/device.h"
#include "train/gpu.h"
#include "train/plan_text.h"
#include "train/recorder.h"
#include "train/run_directory.h"
#include "train/samples.h"
#include "train/start.h"
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

static_assert(parallel::Communicator::kStepsAhead == static_cast<int64_t>(StepPacer::kLead));

class Trainer {
 public:
  // The run directory must be there, and the communicator open.
  Trainer(const RunPlan& plan, DataSources sources, Start start, parallel::Communicator& communicator,
          const core::StopSignal& stop);
  TrainResult run();

 private:
  TrainResult train();
  bool done() const { return step_ >= config_.train.max_steps; }
  bool evaluation_due() const;
  bool checkpoint_due() const;
  void swap_if_due();
  void take_step();
  void evaluate();
  void write_samples();
  void save();
  void check_weights_if_due();
  checkpoint::Snapshot snapshot_of(checkpoint::FlatState flat) const;
  Scope scope(Phase phase) { return Scope(timers_, static_cast<size_t>(phase)); }

  const config::Config config_;
  parallel::Communicator& communicator_;
  const DataSources sources_;
  const model::Execution execution_;
  const data::WindowSampler sampler_;
  const SampleWriter sample_writer_;
  checkpoint::TrainerState state_;
  std::unique_ptr<TrainingStep> training_step_;
  Recorder recorder_;
  data::BatchLoader loader_;
  checkpoint::Writer writer_;
  const core::StopSignal& stop_;
  StepPacer pacer_;
  metrics::PhaseTimers timers_ = make_phase_timers();
  const bool saves_first_;  // a run that began from a checkpoint of another has one of its own from the start
  int64_t step_ = 0;        // finished updates
  int64_t saved_step_ = 0;  // of the newest checkpoint
  int stop_signal_ = 0;     // that the ranks agreed on
};

Trainer::Trainer(const RunPlan& plan, DataSources sources, Start start, parallel::Communicator& communicator,
                 const core::StopSignal& stop)
    : config_(plan.config),
      communicator_(communicator),
      sources_(std::move(sources)),
      execution_(execution_of(plan.config.train)),
      sampler_(plan.config.run.seed, sources_.num_windows),
      sample_writer_(plan.config, sources_.document_token_id),
      state_(std::move(start.state)),
      training_step_(std::move(start.training_step)),
      recorder_(plan.config, training_step_->model(), plan.run_directory, state_,
                /*has_earlier_points=*/plan.mode == StartMode::kContinue || plan.restarts, communicator),
      loader_(sources_.training, sampler_,
              loader_options(plan.config, plan.first_step, communicator.rank(), communicator.world_size())),
      writer_(plan.run_directory,
              {.keep_last = config_.checkpoint.keep_last, .keep_every = config_.checkpoint.keep_every},
              config_.checkpoint.async, config_.checkpoint.verify, communicator.make_board()),
      stop_(stop),
      pacer_(execution_.device),
      saves_first_(plan.mode == StartMode::kFork || plan.mode == StartMode::kInitFrom),
      step_(plan.first_step),
      saved_step_(plan.first_step) {}

TrainResult Trainer::run() {
  try {
    return train();
  } catch (const parallel::PeerFailure&) {
    throw;
  } catch (const std::exception& error) {  // before a checkpoint under way is waited for
    communicator_.announce(parallel::error_text(error));
    throw;
  }
}

TrainResult Trainer::train() {
  kernels::cuda::NvtxRanges ranges;  // what a profiler of NVIDIA's shows
  std::optional<core::ListenToProfile> listening;
  if (!execution_.device.is_cpu()) listening.emplace(ranges);
  recorder_.start();
  if (saves_first_) save();
  while (!done() && stop_signal_ == 0) {
    swap_if_due();
    take_step();
    check_weights_if_due();
    stop_signal_ = communicator_.agree_on_stop(step_, stop_.received());
    if (evaluation_due()) evaluate();
    recorder_.finish_step(/*notable=*/checkpoint_due());
    writer_.check();
    if (checkpoint_due()) save();
  }
  writer_.wait();
  recorder_.flush();
  log_phase_times(timers_, !execution_.device.is_cpu());
  return {.step = step_, .stop_signal = done() ? 0 : stop_signal_};
}

void Trainer::take_step() {
  try {
    recorder_.record(training_step_->run(step_ + 1, loader_, timers_), training_step_->model());
  } catch (const core::InputError&) {  // the data are bad from here on; what was learned before is not
    // Of several ranks the others are in the middle of the step, and a save takes all.
    if (communicator_.world_size() == 1 && step_ > saved_step_) save();
    writer_.wait();
    throw;
  }
  ++step_;
  pacer_.end_step();
}

bool Trainer::evaluation_due() const {
  return sources_.validation && (step_ % config_.evaluate.every == 0 || done());
}

bool Trainer::checkpoint_due() const {
  const int64_t every = config_.checkpoint.every;
  return (every > 0 && step_ % every == 0) || done() || stop_signal_ != 0;
}

// A swap belongs to the first update after its step: the checkpoint of that step itself still has the earlier
// kind.
void Trainer::swap_if_due() {
  const config::AttentionKind held = training_step_->model().spec().config.attention.kind;
  const config::AttentionKind wanted = kind_of_update(config_, state_.manual_swap, step_ + 1);
  if (wanted == held) return;
  recorder_.pause();
  core::log::info("Step {}: the attention is swapped from {} to {}.", step_, to_string(held),
                  to_string(wanted));
  config::AttentionConfig attention = config_.model.attention;
  attention.kind = wanted;
  const checkpoint::Snapshot swapped =
      checkpoint::with_attention(snapshot_of(training_step_->whole_state()), attention);
  training_step_.reset();  // before the next is allocated
  malloc_trim(0);          // the holes between what lives on would stay resident beside the new one
  release_cached_memory(execution_.device);
  training_step_ = std::make_unique<TrainingStep>(config_, swapped.spec, execution_, communicator_);
  training_step_->load(swapped.flat);
  recorder_.resume();
}

void Trainer::evaluate() {
  recorder_.pause();
  {
    const Scope timing = scope(Phase::kEvaluate);
    recorder_.record_validation(mean_window_loss(training_step_->model(), *sources_.validation,
                                                 sources_.validation_windows, config_.train.micro_batch_size,
                                                 communicator_));
    if (communicator_.is_main()) write_samples();
  }
  recorder_.resume();
}

// A model that cannot be sampled from still has its line and its checkpoint.
void Trainer::write_samples() {
  try {
    recorder_.record_samples(sample_writer_.write(training_step_->model()));
  } catch (const core::RunError& error) {
    core::log::warning("Step {}: no samples: {}", step_, error.what());
  }
}

void Trainer::save() {
  recorder_.pause();
  {
    const Scope timing = scope(Phase::kCheckpoint);
    recorder_.check_finite();
    recorder_.flush();
    recorder_.save_state(state_);
    writer_.save(snapshot_of(training_step_->flat_state()));
    saved_step_ = step_;
  }
  recorder_.resume();
}

void Trainer::check_weights_if_due() {
  const int64_t every = config_.parallel.check_every;
  if (every == 0 || step_ % every != 0) return;
  recorder_.pause();
  parallel::require_equal_weights(communicator_, training_step_->model().parameters().flat_master(), step_);
  recorder_.resume();
}

checkpoint::Snapshot Trainer::snapshot_of(checkpoint::FlatState flat) const {
  return {.spec = training_step_->model().spec(),
          .flat = std::move(flat),
          .trainer = state_,
          .tokenizer = config_.data.tokenizer};
}

// Throws for a prompt that cannot be continued, before anything is made.
void check_samples(const config::Config& config, const DataSources& sources) {
  SampleWriter(config, sources.document_token_id);
}

void warn_of_memory(const MemoryPlan& memory) {
  if (const auto warning = memory_warning(memory, free_gpu_memory())) core::log::warning("{}", *warning);
}

// Freed memory stays with the process: the attention kernel allocates its outputs at every call, and fresh
// pages cost more than the arithmetic on them.
void keep_freed_memory() {
  mallopt(M_MMAP_THRESHOLD, 32 << 20);  // the largest that glibc takes
  mallopt(M_TRIM_THRESHOLD, 1 << 30);
}

}  // namespace

TrainResult train(RunPlan plan, const std::string& command_line, parallel::Communicator& communicator,
                  std::optional<core::StopSignal>& stop_signal) {
  keep_freed_memory();
  if (plan.mode == StartMode::kContinue && plan.first_step == plan.config.train.max_steps) {
    core::log::info("{} is complete: {} of {} steps are done. Raise train.max_steps to train on.",
                    plan.run_directory.string(), plan.first_step, plan.config.train.max_steps);
    return {.step = plan.first_step, .stop_signal = 0};
  }
  communicator.set_timeout(plan.config.parallel.timeout_s);
  DataSources sources = open_data(plan.config);
  resolve_together(plan.config, communicator);
  check_samples(plan.config, sources);
  const std::optional<GpuDescription> gpu = gpu_of(plan.config.train);
  if (gpu) warn_of_memory(plan_memory(plan, communicator.world_size()));
  Start start = make_start(plan, sources, communicator);
  require_same_start(plan, sources, start, communicator.board());
  std::optional<RunLock> lock;
  communicator.board().from_rank_zero("run directory", [&] {
    core::create_writable_directory(plan.run_directory);
    lock.emplace(plan.run_directory);
    prepare_run_directory(plan, sources, start, command_line, communicator.world_size());
    return plan.run_directory.string();
  });
  if (!communicator.is_main()) core::log::add_file(log_path(plan.run_directory));
  if (communicator.is_main()) {
    core::log::info("{}", start_text(plan, sources, communicator.world_size(), gpu,
                                     plan_memory(plan, communicator.world_size())));
  }
  communicator.open(execution_of(plan.config.train).device, plan.config.parallel.timeout_s);
  Trainer trainer(plan, std::move(sources), std::move(start), communicator, stop_signal.emplace());
  const TrainResult result = trainer.run();
  if (result.stop_signal != 0) {
    core::log::info("Stopped by signal {} after step {}; saved. Continue with --resume auto.",
                    result.stop_signal, result.step);
  } else {
    core::log::info("Done: {} steps. Results are in {}.", result.step, plan.run_directory.string());
  }
  return result;
}

std::string describe_plan(RunPlan plan, int64_t num_ranks) {
  const DataSources sources = open_data(plan.config);
  resolve_device_and_dtype(plan.config);
  if (plan.checkpoint) read_start(plan, sources);
  check_samples(plan.config, sources);
  config::accumulation_steps(plan.config.train, num_ranks);
  return config::dump(plan.config) + "\n" +
         start_text(plan, sources, num_ranks, gpu_of(plan.config.train), plan_memory(plan, num_ranks));
}

}  // namespace ssgpt::train
