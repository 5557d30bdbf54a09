#include "bench/step.h"

#include "bench/random_tokens.h"
#include "core/check.h"
#include "core/memory.h"
#include "model/accounting.h"
#include "report/statistics.h"
#include "train/data_sources.h"
#include "train/device.h"
#include "train/plan_text.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <limits>
#include <memory>
#include <utility>

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/ones.h>

namespace ssgpt::bench {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point begin) {
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

// Enough for some steps without a repetition; more would only take disk.
int64_t num_windows(const config::Config& config) {
  return std::max<int64_t>(64, 4 * config.train.global_batch_size);
}

model::GPTSpec spec_of(const config::Config& config) {
  return {.config = config.model, .sequence_length = config.data.sequence_length, .document_token_id = {}};
}

// Rank 0 chooses what `auto` stands for.
config::Config resolve_and_open(config::Config config, parallel::Communicator& communicator) {
  train::resolve_together(config, communicator.board());
  parallel::require_agreement(communicator.board(), "benchmark",
                              {{.name = "the config", .value = config::dump(config)}});
  communicator.open(train::execution_of(config.train).device, config.parallel.timeout_s);
  return config;
}

}  // namespace

StepRunner::StepRunner(const config::Config& config, parallel::Communicator& communicator)
    : tokens_(random_tokens(num_windows(config) * config.data.sequence_length + 1, config.model.vocab_size)),
      training_step_(config, spec_of(config), train::execution_of(config.train), communicator),
      loader_(
          tokens_, data::WindowSampler(config.run.seed, num_windows(config)),
          train::loader_options(config, /*first_step=*/0, communicator.rank(), communicator.world_size())),
      timers_(train::make_phase_timers()) {
  training_step_.model().parameters().initialize(config.run.seed);
  training_step_.model().parameters().refresh_compute();
}

double StepRunner::step() {
  const Clock::time_point begin = Clock::now();
  training_step_.run(++step_, loader_, timers_);
  return seconds_since(begin);
}

Ceilings measure_ceilings(const model::Execution& execution) {
  constexpr int kCopies = 5;                       // the best of these counts
  constexpr int64_t kElements = int64_t{1} << 25;  // 128 MiB of fp32
  Ceilings ceilings;
  ceilings.product_flops = train::measure_peak_flops(execution);
  const auto options = at::TensorOptions(execution.device).dtype(at::kFloat);
  const at::Tensor from = at::ones({kElements}, options);
  const at::Tensor to = at::ones({kElements}, options);
  for (int call = 0; call < kCopies; ++call) {
    const Clock::time_point begin = Clock::now();
    to.copy_(from);
    const double bytes = static_cast<double>(from.nbytes() + to.nbytes());
    ceilings.copy_bytes = std::max(ceilings.copy_bytes, bytes / seconds_since(begin));
  }
  return ceilings;
}

StepReport measure_step(const StepOptions& options, parallel::Communicator& communicator) {
  StepReport report;
  report.config = resolve_and_open(options.config, communicator);
  const config::Config& config = report.config;
  report.threads = at::get_num_threads();
  report.num_ranks = communicator.world_size();
  report.num_parameters = model::count_parameters(config.model, config.data.sequence_length);
  report.flops_per_token = model::flops_per_token(config.model, config.data.sequence_length);
  report.tokens_per_step = config.train.global_batch_size * config.data.sequence_length;
  report.estimated_bytes = train::plan_memory(config, report.num_ranks).without_snapshot();
  // The product before and after the steps: where other work slows one of them down, the other counts.
  const double product_before =
      communicator.sum(train::measure_peak_flops(train::execution_of(config.train)));
  {
    StepRunner runner(config, communicator);
    for (int64_t i = 0; i < options.warmup; ++i) runner.step();
    const parallel::CommunicationTime before = runner.reduction().time();
    core::HostProfile profile;
    const core::ListenToProfile listening(profile);
    for (int64_t i = 0; i < options.steps; ++i) report.seconds.push_back(runner.step());
    report.profile = profile.entries();
    report.num_buckets = runner.reduction().num_buckets();
    report.communication = {.exposed = runner.reduction().time().exposed - before.exposed,
                            .total = runner.reduction().time().total - before.total};
    report.peak_bytes = core::peak_resident_bytes();
  }
  report.ceilings = measure_ceilings(train::execution_of(config.train));
  report.ceilings.copy_bytes = communicator.sum(report.ceilings.copy_bytes);
  report.ceilings.product_flops = std::max(communicator.sum(report.ceilings.product_flops), product_before);
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
  for (int64_t round = -options.warmup; round < options.steps; ++round) {
    for (size_t turn = 0; turn < kinds.size(); ++turn) {
      const size_t kind = round % 2 == 0 ? turn : kinds.size() - 1 - turn;
      const double seconds = runners[kind]->step();
      if (round >= 0) report.seconds[kind].push_back(seconds);
    }
  }
  return report;
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
