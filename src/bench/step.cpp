#include "bench/step.h"

#include "bench/device_profile.h"
#include "bench/random_tokens.h"
#include "core/check.h"
#include "core/memory.h"
#include "kernels/cuda/nvtx.h"
#include "model/accounting.h"
#include "model/device_timing.h"
#include "report/statistics.h"
#include "start/choose_device.h"
#include "start/choose_products.h"
#include "start/data_sources.h"
#include "start/describe.h"
#include "start/terms.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <limits>
#include <memory>
#include <numeric>
#include <utility>

#include <ATen/Parallel.h>

namespace ssgpt::bench {
namespace {

using Clock = std::chrono::steady_clock;

// Steps that a GPU runs between two waits, so that draining its queue at the end of a group is negligible.
constexpr int64_t kGroup = 10;
constexpr int64_t kProfiledSteps = 5;

double seconds_since(Clock::time_point begin) {
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

// Enough for some steps without repetition; more would only use disk space.
int64_t num_windows(const config::Config& config) {
  return std::max<int64_t>(64, 4 * config.train.global_batch_size);
}

model::GPTSpec spec_of(const config::Config& config) {
  return {.config = config.model, .sequence_length = config.data.sequence_length, .document_token_id = {}};
}

// Rank 0 resolves `auto` settings.
config::Config resolve_and_open(config::Config config, parallel::Communicator& communicator) {
  const parallel::Environment& environment = communicator.environment();
  const std::string of_rank_zero = communicator.exchange().from_rank_zero("benchmark", [&] {
    start::choose_device(config, environment);
    return config::dump(config);
  });
  std::vector<std::string> differences;
  if (!communicator.is_main()) {
    const config::Config chosen = config::parse(of_rank_zero, "the config of rank 0");
    start::take_choices(config, chosen.train, environment);
    differences = start::config_differences(chosen, config);
  }
  const std::string products = communicator.exchange().from_rank_zero("products", [&] {
    return start::products_text(
        start::choose_products(config, communicator.world_size(), /*held=*/std::nullopt, /*origin=*/""));
  });
  if (!communicator.is_main() && differences.empty()) {
    differences = start::take_products(start::read_products_text(products));
  }
  parallel::agree(communicator.exchange(), "benchmark", differences);
  communicator.open(start::execution_of(config.train).device, config.parallel.timeout_s);
  return config;
}

}  // namespace

StepRunner::StepRunner(const config::Config& config, parallel::Communicator& communicator)
    : device_(start::execution_of(config.train).device),
      tokens_(random_tokens(num_windows(config) * config.data.sequence_length + 1, config.model.vocab_size)),
      training_step_(config, spec_of(config), start::execution_of(config.train), communicator),
      loader_(
          tokens_, data::WindowSampler(config.run.seed, num_windows(config)),
          start::loader_options(config, /*first_step=*/0, communicator.rank(), communicator.world_size())),
      timers_(train::make_phase_timers()) {
  training_step_.model().parameters().initialize(config.run.seed);
  training_step_.model().parameters().refresh_compute();
}

double StepRunner::step() {
  const Clock::time_point begin = Clock::now();
  training_step_.run(++step_, loader_, timers_);
  return seconds_since(begin);
}

std::vector<double> StepRunner::steps(int64_t count) {
  std::vector<double> seconds;
  if (device_.is_cpu()) {
    for (int64_t i = 0; i < count; ++i) seconds.push_back(step());
    return seconds;
  }
  model::synchronize(device_);
  const Clock::time_point begin = Clock::now();
  for (int64_t i = 0; i < count; ++i) step();
  model::synchronize(device_);
  seconds.assign(static_cast<size_t>(count), seconds_since(begin) / static_cast<double>(count));
  return seconds;
}

namespace {

// On a CPU the measured steps themselves are profiled.
void measure_on_cpu(StepRunner& runner, const StepOptions& options, StepReport& report) {
  core::HostProfile profile;
  const core::ListenToProfile listening(profile);
  report.seconds = runner.steps(options.steps);
  report.profile = profile.entries();
  report.profiled_steps = options.steps;
  report.profiled_seconds = std::accumulate(report.seconds.begin(), report.seconds.end(), 0.0);
}

// On a GPU separate steps are profiled, because its events would slow down the measured ones.
void profile_on_gpu(StepRunner& runner, StepReport& report) {
  report.profiled_steps = kProfiledSteps;
  std::vector<double> queueing;
  for (int64_t i = 0; i < kProfiledSteps; ++i) {
    model::synchronize(runner.device());  // a full queue would block the host
    queueing.push_back(runner.step());
  }
  report.queue_seconds = quantile(queueing, 0.5);
  model::synchronize(runner.device());
  kernels::cuda::NvtxRanges ranges;
  DeviceProfile profile(model::make_marks(runner.device()));
  core::BothListen both(ranges, profile);
  const core::ListenToProfile listening(both);
  for (int64_t i = 0; i < kProfiledSteps; ++i) {
    runner.step();
    report.profiled_seconds += profile.collect();
  }
  report.profile = profile.entries();
}

void measure_on_gpu(StepRunner& runner, const StepOptions& options, StepReport& report) {
  while (static_cast<int64_t>(report.seconds.size()) < options.steps) {
    const int64_t left = options.steps - static_cast<int64_t>(report.seconds.size());
    const std::vector<double> group = runner.steps(std::min(kGroup, left));
    report.seconds.insert(report.seconds.end(), group.begin(), group.end());
  }
}

}  // namespace

StepReport measure_step(const StepOptions& options, parallel::Communicator& communicator) {
  StepReport report;
  report.config = resolve_and_open(options.config, communicator);
  const config::Config& config = report.config;
  report.threads = at::get_num_threads();
  report.num_ranks = communicator.world_size();
  report.num_parameters = model::count_parameters(config.model, config.data.sequence_length);
  report.flops_per_token = model::flops_per_token(config.model, config.data.sequence_length);
  report.tokens_per_step = config.train.global_batch_size * config.data.sequence_length;
  report.estimated_bytes = start::plan_memory(config, report.num_ranks).without_snapshot();
  const model::Execution execution = start::execution_of(config.train);
  // Measures the GEMM ceiling before and after the steps: if other work disturbs one measurement, the other
  // counts; if it disturbs both, it also disturbs the steps.
  const double product_before = communicator.sum(start::measure_peak_flops(execution));
  release_device_memory(execution.device);
  {
    StepRunner runner(config, communicator);
    runner.steps(options.warmup);
    const parallel::CommunicationTime before = runner.reduction().time();
    on_gpu(config) ? measure_on_gpu(runner, options, report) : measure_on_cpu(runner, options, report);
    const parallel::CommunicationTime after = runner.reduction().time();
    report.num_buckets = runner.reduction().num_buckets();
    report.communication = {.exposed = after.exposed - before.exposed, .total = after.total - before.total};
    report.peak_bytes = core::peak_resident_bytes();
    report.device_memory = peak_device_memory(execution.device);
    if (on_gpu(config)) profile_on_gpu(runner, report);
  }
  report.ceilings = measure_ceilings(execution);
  report.ceilings.copy_bytes = communicator.sum(report.ceilings.copy_bytes);
  report.ceilings.product_flops = std::max({communicator.sum(report.ceilings.product_flops), product_before,
                                            tokens_per_second(report) * report.flops_per_token});
  report.spec_sheet_flops = start::spec_sheet_flops(config.train, communicator);
  return report;
}

AttentionReport compare_attention(const StepOptions& options, const std::vector<config::AttentionKind>& kinds,
                                  parallel::Communicator& communicator) {
  AttentionReport report;
  report.config = resolve_and_open(options.config, communicator);
  report.threads = at::get_num_threads();
  report.num_ranks = communicator.world_size();
  report.kinds = kinds;
  report.seconds.resize(kinds.size());
  std::vector<std::unique_ptr<StepRunner>> runners;
  for (const config::AttentionKind kind : kinds) {
    config::Config config = report.config;
    config.model.attention.kind = kind;
    runners.push_back(std::make_unique<StepRunner>(config, communicator));
  }
  if (on_gpu(report.config)) report.steps_in_turn = kGroup;
  for (int64_t round = -options.warmup; round < options.steps; ++round) {
    for (size_t turn = 0; turn < kinds.size(); ++turn) {
      const size_t kind = round % 2 == 0 ? turn : kinds.size() - 1 - turn;
      const std::vector<double> seconds = runners[kind]->steps(round < 0 ? 1 : report.steps_in_turn);
      if (round >= 0) report.seconds[kind].push_back(seconds.front());  // on a GPU all are equal
    }
  }
  return report;
}

bool on_gpu(const config::Config& config) {
  return config.train.device == config::Device::kCuda;
}

double tokens_per_second(const StepReport& report) {
  return static_cast<double>(report.tokens_per_step) / quantile(report.seconds, 0.5);
}

double roofline_ratio(const StepReport& report) {
  double least = 0.0;
  for (const core::ProfileEntry& entry : report.profile) least += least_seconds(entry.work, report.ceilings);
  const double step = std::accumulate(report.seconds.begin(), report.seconds.end(), 0.0) /
                      static_cast<double>(report.seconds.size());
  return least / static_cast<double>(report.profiled_steps) / step;
}

PairedRatio paired_ratio(const std::vector<double>& candidate, const std::vector<double>& baseline) {
  SSGPT_CHECK(candidate.size() == baseline.size() && !candidate.empty(), "{} and {} rounds are no pairs",
              candidate.size(), baseline.size());
  const auto count = static_cast<double>(candidate.size());
  double mean = 0.0;
  for (size_t i = 0; i < candidate.size(); ++i) mean += std::log(candidate[i] / baseline[i]) / count;
  PairedRatio result{.ratio = std::exp(mean), .low = 0.0, .high = std::numeric_limits<double>::infinity()};
  if (candidate.size() < 2) return result;
  double squares = 0.0;
  for (size_t i = 0; i < candidate.size(); ++i) {
    squares += std::pow(std::log(candidate[i] / baseline[i]) - mean, 2);
  }
  const double error = std::sqrt(squares / (count - 1.0) / count);
  const double half_width = report::student_quantile(0.975, count - 1.0) * error;
  result.low = std::exp(mean - half_width);
  result.high = std::exp(mean + half_width);
  return result;
}

double quantile(std::vector<double> values, double share) {
  SSGPT_CHECK(!values.empty() && share >= 0.0 && share <= 1.0, "the {} quantile of {} values", share,
              values.size());
  std::sort(values.begin(), values.end());
  const double position = share * static_cast<double>(values.size() - 1);
  const auto below = static_cast<size_t>(position);
  const size_t above = std::min(below + 1, values.size() - 1);
  return std::lerp(values[below], values[above], position - static_cast<double>(below));
}

}  // namespace ssgpt::bench
