#include "train/start.h"

#include "checkpoint/checkpoint.h"
#include "core/error.h"
#include "core/log.h"
#include "core/version.h"
#include "kernels/ops.h"
#include "metrics/sinks.h"
#include "parallel/weights_check.h"
#include "train/device.h"
#include "train/run_directory.h"

#include <utility>

#include <fmt/ranges.h>

namespace ssgpt::train {
namespace {

namespace fs = std::filesystem;

std::optional<checkpoint::Snapshot> read_snapshot(const RunPlan& plan) {
  if (!plan.checkpoint) return std::nullopt;
  const bool with_optimizer = plan.mode != StartMode::kInitFrom;
  const bool verify = plan.config.checkpoint.verify && !plan.checkpoint_is_verified;
  checkpoint::Snapshot snapshot = checkpoint::read(*plan.checkpoint, with_optimizer, verify);
  snapshot.spec.sequence_length = plan.config.data.sequence_length;
  if (snapshot.spec.config.attention.kind == plan.kind) return snapshot;
  core::log::info("The attention of {} is swapped from {} to {}.", plan.checkpoint->string(),
                  to_string(snapshot.spec.config.attention.kind), to_string(plan.kind));
  config::AttentionConfig attention = plan.config.model.attention;
  attention.kind = plan.kind;
  return checkpoint::with_attention(snapshot, attention);
}

[[noreturn]] void refuse_changed_directory(const fs::path& run_directory) {
  throw core::UsageError("Another process trained into {} while this one was starting: start it again.",
                         run_directory.string());
}

// A checkpoint beyond the one that the run goes on from did not verify: it is set aside, not deleted. One
// that does verify is new since the plan was made.
void set_aside_later_checkpoints(const fs::path& run_directory, int64_t step) {
  for (const checkpoint::Entry& entry : checkpoint::list(run_directory)) {
    if (entry.step <= step) continue;
    if (checkpoint::verify(entry.directory).empty()) refuse_changed_directory(run_directory);
    fs::path aside = entry.directory;
    for (int n = 1; fs::exists(aside); ++n) {
      aside = entry.directory;
      aside += n == 1 ? ".damaged" : fmt::format(".damaged-{}", n);
    }
    fs::rename(entry.directory, aside);
    core::log::warning("{} is set aside as {}.", entry.directory.string(), aside.filename().string());
  }
}

// What computes alike on all ranks has the same name on all.
parallel::AgreedItem what_rounds(const config::TrainConfig& train) {
  if (const std::optional<GpuDescription> gpu = gpu_of(train)) {
    return {.name = "the GPU's compute capability",
            .value = fmt::format("{}.{}", gpu->compute_major, gpu->compute_minor)};
  }
  return {.name = "the processor's instruction set", .value = std::string(kernels::instruction_set())};
}

}  // namespace

StartingPoint read_start(const RunPlan& plan, const DataSources& sources) {
  StartingPoint start{.snapshot = read_snapshot(plan), .state = {}};
  const std::string fingerprint = sources.training.fingerprint();
  if (plan.mode == StartMode::kContinue || plan.mode == StartMode::kFork) {
    start.state = *start.snapshot->trainer;
    if (start.state.data_fingerprint != fingerprint) {
      throw core::InputError(
          "The training shards are not those that {} was trained on (fingerprint {}, now {}): the run "
          "would read other data. Restore them, or start a new run with its weights: --init-from.",
          plan.checkpoint->string(), start.state.data_fingerprint, fingerprint);
    }
  }
  start.state.run_id = plan.run_id;
  start.state.data_fingerprint = fingerprint;
  start.state.dtype = plan.config.train.dtype == config::Dtype::kBfloat16 ? "bfloat16" : "float32";
  start.state.config = config::dump(plan.config);
  start.state.manual_swap = plan.manual_swap;
  return start;
}

Start make_start(const RunPlan& plan, const DataSources& sources, parallel::Communicator& communicator) {
  StartingPoint point = read_start(plan, sources);
  model::GPTSpec spec{.config = plan.config.model,
                      .sequence_length = plan.config.data.sequence_length,
                      .document_token_id = sources.document_token_id};
  spec.config.attention.kind = plan.kind;
  auto training_step =
      std::make_unique<TrainingStep>(plan.config, spec, execution_of(plan.config.train), communicator);
  if (point.snapshot) {
    training_step->load(point.snapshot->flat);
  } else {
    training_step->model().parameters().initialize(plan.config.run.seed);
    training_step->model().parameters().refresh_compute();
  }
  return {.training_step = std::move(training_step), .state = std::move(point.state)};
}

void require_same_start(const RunPlan& plan, const DataSources& sources, const Start& start,
                        parallel::Board& board) {
  if (board.world_size() == 1) return;  // spares the checksum of all weights
  const auto different_keys = [](const std::string& of_rank_zero, const std::string& own) {
    std::vector<std::string> lines;
    for (const config::Difference& difference :
         config::differences(config::parse(of_rank_zero, "rank 0"), config::parse(own, "this rank"))) {
      lines.push_back(
          fmt::format("{}: {} on rank 0, {} here", difference.key, difference.before, difference.after));
    }
    return fmt::format("{}", fmt::join(lines, "; "));
  };
  const std::string validation = sources.validation ? sources.validation->fingerprint() : "none";
  parallel::require_agreement(
      board, "start",
      {{.name = "the program's revision", .value = core::git_revision()},
       what_rounds(plan.config.train),
       {.name = "the config", .value = config::dump(plan.config), .difference = different_keys},
       {.name = "the training shards' fingerprint", .value = sources.training.fingerprint()},
       {.name = "the validation shards' fingerprint", .value = validation},
       {.name = "the run directory", .value = fs::weakly_canonical(plan.run_directory).string()},
       {.name = "the step to start from", .value = std::to_string(plan.first_step)},
       {.name = "the attention", .value = std::string(to_string(plan.kind))},
       {.name = "the initial weights' checksum",
        .value = parallel::weights_checksum(start.training_step->model().parameters().flat_master())}});
}

void prepare_run_directory(const RunPlan& plan, const DataSources& sources, const Start& start,
                           const std::string& command_line, int64_t num_ranks) {
  const fs::path& run_directory = plan.run_directory;
  const bool expects_run = plan.mode == StartMode::kContinue || plan.restarts;
  if (!expects_run && holds_run(run_directory)) refuse_changed_directory(run_directory);
  core::log::add_file(log_path(run_directory));
  if (expects_run) {
    set_aside_later_checkpoints(run_directory, plan.first_step);
    metrics::JsonlSink::truncate_after(metrics_path(run_directory), plan.first_step);
    metrics::JsonlSink::truncate_after(samples_path(run_directory), plan.first_step);
  }
  RunRecord record{.run_id = start.state.run_id,
                   .command_line = command_line,
                   .data_fingerprint = start.state.data_fingerprint,
                   .validation_fingerprint = sources.validation ? sources.validation->fingerprint() : "",
                   .validation_windows = sources.validation_windows,
                   .validation_since = 0,
                   .num_parameters = start.training_step->model().parameters().num_parameters(),
                   .first_step = plan.first_step,
                   .parent = std::nullopt,
                   .manual_swap = plan.manual_swap};
  if (plan.mode == StartMode::kFork || plan.mode == StartMode::kInitFrom) {
    record.parent = fs::absolute(*plan.checkpoint).string();  // whatever the directory of who reads it
  }
  if (plan.mode == StartMode::kContinue) {
    if (const std::optional<RunRecord> earlier = read_run_record(run_directory);
        earlier && earlier->run_id == record.run_id) {
      inherit(*earlier, plan.first_step, record);
    } else {
      record.first_step.reset();  // where the run began is not known
    }
  }
  write_run_files(run_directory, plan.config, record, num_ranks, gpu_of(plan.config.train));
}

}  // namespace ssgpt::train
