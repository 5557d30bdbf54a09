#include "train/trainer.h"

#include "checkpoint/checkpoint.h"
#include "core/error.h"
#include "core/file.h"
#include "core/log.h"
#include "core/profile.h"
#include "core/stop_signal.h"
#include "data/loader.h"
#include "data/packed_examples.h"
#include "device/gpu.h"
#include "kernels/cuda/nvtx.h"
#include "parallel/error_text.h"
#include "parallel/weights_check.h"
#include "start/choose_device.h"
#include "start/describe.h"
#include "start/run_files.h"
#include "start/terms.h"
#include "train/phases.h"
#include "train/recorder.h"
#include "train/samples.h"
#include "train/training_step.h"
#include "train/validation.h"

#include <functional>
#include <malloc.h>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include <fmt/ranges.h>

namespace ssgpt::train {
namespace {

using Scope = metrics::PhaseTimers::Scope;

static_assert(parallel::Communicator::kStepsAhead == static_cast<int64_t>(device::StepPacer::kLead));

class Trainer {
 public:
  // The run directory must exist, and the communicator be open. `training_step` holds the weights of `start`.
  Trainer(start::Start start, std::unique_ptr<TrainingStep> training_step,
          parallel::Communicator& communicator, const core::StopSignal& stop);
  TrainResult run();

 private:
  TrainResult train();
  bool done() const { return step_ >= config_.train.max_steps; }
  bool evaluation_due() const;
  bool checkpoint_due() const;
  void swap_if_due();
  void take_step();
  void evaluate();
  WindowLoss validation_loss();
  void write_samples();
  void save();
  void with_data(const std::function<void()>& work);
  void save_alone();
  void check_weights_if_due();
  checkpoint::Snapshot snapshot_of(checkpoint::FlatState flat) const;
  Scope scope(Phase phase) { return Scope(timers_, static_cast<size_t>(phase)); }

  const config::Config config_;
  parallel::Communicator& communicator_;
  const start::DataSources data_;
  const model::Execution execution_;
  const SampleWriter sample_writer_;
  const std::string validation_label_;
  checkpoint::TrainerState state_;
  std::unique_ptr<TrainingStep> training_step_;
  Recorder recorder_;
  data::BatchLoader loader_;
  checkpoint::Writer writer_;
  const core::StopSignal& stop_;
  device::StepPacer pacer_;
  metrics::PhaseTimers timers_ = make_phase_timers();
  const bool saves_first_;  // begun from another run's checkpoint: saves one of its own at the start
  int64_t step_ = 0;        // finished updates
  int64_t saved_step_ = 0;  // step of the newest checkpoint
  int stop_signal_ = 0;     // agreed on by the ranks
};

// Loads this rank's data for the steps after `first_step`. `data` must outlive it.
data::BatchLoader open_loader(const config::Config& config, const start::DataSources& data,
                              int64_t first_step, const parallel::Communicator& communicator) {
  const data::LoaderOptions options =
      start::loader_options(config, first_step, communicator.rank(), communicator.world_size());
  const uint64_t seed = config.run.seed;
  if (data.examples) {
    const data::EpochOrder order(seed, data.num_windows, options.samples_per_step);
    return data::BatchLoader(*data.examples, order, options);
  }
  return data::BatchLoader(data.training, data::WindowSampler(seed, data.num_windows), options);
}

Trainer::Trainer(start::Start start, std::unique_ptr<TrainingStep> training_step,
                 parallel::Communicator& communicator, const core::StopSignal& stop)
    : config_(start.config),
      communicator_(communicator),
      data_(std::move(start.data)),
      execution_(start::execution_of(config_.train)),
      sample_writer_(config_, data_),
      validation_label_(data_.has_validation() ? data_.validation_label() : ""),
      state_(std::move(start.state)),
      training_step_(std::move(training_step)),
      recorder_(config_, training_step_->model(), start.directory, state_,
                /*has_earlier_points=*/!start.is_new_run() || start.restarts, communicator),
      loader_(open_loader(config_, data_, state_.step, communicator)),
      writer_(start.directory,
              {.keep_last = config_.checkpoint.keep_last, .keep_every = config_.checkpoint.keep_every},
              config_.checkpoint.async, config_.checkpoint.verify, communicator.make_exchange()),
      stop_(stop),
      pacer_(execution_.device, [&communicator] { communicator.check_peers(); }),
      saves_first_(start.mode == start::Mode::kFork || start.mode == start::Mode::kInitFrom),
      step_(state_.step),
      saved_step_(state_.step) {}

TrainResult Trainer::run() {
  try {
    return train();
  } catch (const parallel::PeerFailure&) {
    throw;
  } catch (const std::exception& error) {  // before waiting for a checkpoint in progress
    communicator_.announce(parallel::error_text(error));
    throw;
  }
}

TrainResult Trainer::train() {
  kernels::cuda::NvtxRanges ranges;  // shown by NVIDIA's profilers
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
  with_data([this] {
    recorder_.record(training_step_->run(step_ + 1, loader_, timers_), training_step_->model());
  });
  ++step_;
  pacer_.end_step();
}

// Runs `work`, which reads the data. If they are bad or unreadable, the training so far is still good: it is
// saved before the error is rethrown.
void Trainer::with_data(const std::function<void()>& work) {
  try {
    work();
  } catch (const core::InputError&) {
    save_alone();
    throw;
  } catch (const core::ReadError&) {
    save_alone();
    throw;
  }
}

// Writes the line of the last completed step, and saves the training up to it.
void Trainer::save_alone() {
  recorder_.finish_step(/*notable=*/true);
  // With several ranks the others are in the middle of the step, and a save needs all of them.
  if (communicator_.world_size() == 1 && step_ > saved_step_) save();
  writer_.wait();
}

bool Trainer::evaluation_due() const {
  return data_.has_validation() && (step_ % config_.evaluate.every == 0 || done());
}

bool Trainer::checkpoint_due() const {
  const int64_t every = config_.checkpoint.every;
  return (every > 0 && step_ % every == 0) || done() || stop_signal_ != 0;
}

// A swap first applies to the update after its step: the checkpoint of that step still has the earlier kind.
void Trainer::swap_if_due() {
  const config::AttentionKind held = training_step_->model().spec().config.attention.kind;
  const config::AttentionKind wanted = config::attention_kind(config_, step_ + 1);
  if (wanted == held) return;
  const Recorder::Pause pause(recorder_);
  core::log::info("Step {}: the attention is swapped from {} to {}.", step_, to_string(held),
                  to_string(wanted));
  config::AttentionConfig attention = config_.model.attention;
  attention.kind = wanted;
  const checkpoint::Snapshot swapped =
      checkpoint::with_attention(snapshot_of(training_step_->whole_state()), attention);
  training_step_.reset();  // before the next one is allocated
  malloc_trim(0);          // otherwise freed holes in the heap would stay resident beside the new one
  device::release_cached_memory(execution_.device);
  training_step_ = std::make_unique<TrainingStep>(config_, swapped.spec, execution_, communicator_);
  training_step_->load(swapped.flat);
}

void Trainer::evaluate() {
  with_data([this] {
    const Recorder::Pause pause(recorder_);
    const Scope timing = scope(Phase::kEvaluate);
    recorder_.record_validation(validation_loss(), validation_label_);
    if (communicator_.is_main()) write_samples();
  });
}

WindowLoss Trainer::validation_loss() {
  model::GPT& model = training_step_->model();
  const int64_t batch_size = config_.train.micro_batch_size;
  if (data_.validation_examples) {
    return mean_example_loss(model, *data_.validation_examples, data_.validation_windows, batch_size,
                             communicator_);
  }
  return mean_window_loss(model, *data_.validation, data_.validation_windows, batch_size, communicator_);
}

// If the model cannot be sampled from, its line and its checkpoint are still written. Texts that cannot be
// written to the disk end the run, like metrics that cannot.
void Trainer::write_samples() {
  recorder_.record_samples(sample_writer_.write_if_possible(training_step_->model(), step_));
}

void Trainer::save() {
  const Recorder::Pause pause(recorder_);
  const Scope timing = scope(Phase::kCheckpoint);
  recorder_.check_finite();
  recorder_.flush();
  recorder_.save_state(state_);
  writer_.save(snapshot_of(training_step_->flat_state()));
  saved_step_ = step_;
}

void Trainer::check_weights_if_due() {
  const int64_t every = config_.parallel.check_every;
  if (every == 0 || step_ % every != 0) return;
  const Recorder::Pause pause(recorder_);
  parallel::require_equal_weights(communicator_, training_step_->model().parameters().flat_master(), step_);
}

checkpoint::Snapshot Trainer::snapshot_of(checkpoint::FlatState flat) const {
  return {.spec = training_step_->model().spec(),
          .flat = std::move(flat),
          .trainer = state_,
          .tokenizer = config_.data.tokenizer};
}

void warn_of_memory(const start::Start& start, int64_t num_ranks) {
  if (start.config.train.device != config::Device::kCuda) return;
  const auto warning = start::memory_warning(start::plan_memory(start, num_ranks), device::free_gpu_memory());
  if (warning) core::log::warning("{}", *warning);
}

// Moves the weights of `start` into the model to train, or initialises the model.
std::unique_ptr<TrainingStep> make_training_step(start::Start& start, parallel::Communicator& communicator) {
  auto training_step = std::make_unique<TrainingStep>(start.config, start.spec(),
                                                      start::execution_of(start.config.train), communicator);
  if (start.weights) {
    training_step->load(*start.weights);
    start.weights.reset();
    malloc_trim(0);  // the copy of the first checkpoint would not fit into what they leave
  } else {
    training_step->model().parameters().initialize(start.config.run.seed);
    training_step->model().parameters().refresh_compute();
  }
  return training_step;
}

// If ranks have disks of their own, checkpoints of the same name may differ; and terms that a foreign program
// left in the ranks' store are not those of rank 0.
void require_equal_start(const start::Start& start, model::GPT& model, parallel::Communicator& communicator) {
  if (communicator.world_size() == 1) return;  // saves checksumming all weights
  const std::vector<int64_t> with_other_terms =
      parallel::ranks_with_another(communicator, start::checksum_of(start::terms_of(start)));
  if (!with_other_terms.empty()) {
    throw core::RunError(
        "Rank {} begins by other terms than those of rank 0 although the ranks' store showed them alike: {}",
        fmt::join(with_other_terms, ", "), parallel::kStrangerInStore);
  }
  const std::vector<int64_t> others =
      parallel::ranks_with_other_weights(communicator, model.parameters().flat_master());
  if (others.empty()) return;
  throw core::UsageError(
      "Rank {} does not do what rank 0 does: its initial weights differ, bit for bit{}. All ranks must run "
      "the same program on the same config and files.",
      fmt::join(others, ", "), start.checkpoint ? ", in " + start.checkpoint->string() : "");
}

}  // namespace

void keep_freed_memory() {
  mallopt(M_MMAP_THRESHOLD, 32 << 20);  // the largest value that glibc accepts
  mallopt(M_TRIM_THRESHOLD, 1 << 30);
}

TrainResult train(start::Start start, const std::string& command_line, parallel::Communicator& communicator,
                  std::optional<core::StopSignal>& stop_signal) {
  const run::RunDirectory directory = start.directory;
  if (start.is_complete()) {
    core::log::info("{} is complete: {} of {} steps are done. Raise train.max_steps to train on.",
                    directory.path().string(), start.state.step, start.config.train.max_steps);
    return {.step = start.state.step, .stop_signal = 0};
  }
  const int64_t num_ranks = communicator.world_size();
  warn_of_memory(start, num_ranks);
  // Before the model is allocated: the plan counts it, and what the process holds without it.
  const std::string plan = communicator.is_main() ? start::start_text(start, num_ranks) : "";
  std::unique_ptr<TrainingStep> training_step = make_training_step(start, communicator);
  communicator.open(start::execution_of(start.config.train).device, start.config.parallel.timeout_s);
  require_equal_start(start, training_step->model(), communicator);
  std::optional<run::Lock> lock;
  communicator.exchange().from_rank_zero("run directory", [&] {
    core::create_writable_directory(directory.path());
    lock.emplace(directory);
    start::prepare_run_files(start, command_line, num_ranks);
    return directory.path().string();
  });
  if (!communicator.is_main()) {
    // A network file system may have cached that the folder is missing; creating it asks the server.
    core::create_writable_directory(directory.path());
    core::log::add_file(directory.log());
  }
  if (communicator.is_main()) core::log::info("{}", plan);
  Trainer trainer(std::move(start), std::move(training_step), communicator, stop_signal.emplace());
  const TrainResult result = trainer.run();
  if (result.stop_signal != 0) {
    core::log::info("Stopped by signal {} after step {}; saved. Continue with --resume auto.",
                    result.stop_signal, result.step);
  } else {
    core::log::info("Done: {} steps. Results are in {}.", result.step, directory.path().string());
  }
  core::log::require_written();
  return result;
}

}  // namespace ssgpt::train
