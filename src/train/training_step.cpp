#include "train/training_step.h"

#include "core/profile.h"
#include "optim/clip.h"
#include "optim/schedule.h"
#include "optim/slices.h"

#include <string>
#include <utility>
#include <vector>

#include <ATen/TensorOperators.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>

namespace ssgpt::train {
namespace {

std::vector<optim::TensorExtent> extents(const model::ParameterStore& parameters,
                                         double scale_lr_multiplier) {
  std::vector<optim::TensorExtent> result;
  for (const model::Parameter& parameter : parameters.parameters()) {
    result.push_back({.offset = parameter.offset,
                      .numel = parameter.numel,
                      .rank = static_cast<int64_t>(parameter.spec.shape.size()),
                      .lr_multiplier = parameter.spec.of_row_scale ? scale_lr_multiplier : 1.0});
  }
  return result;
}

model::Execution with_granule(model::Execution execution, int64_t world_size) {
  execution.flat_alignment = parallel::flat_alignment(world_size);
  return execution;
}

}  // namespace

TrainingStep::TrainingStep(const config::Config& config, const model::GPTSpec& spec,
                           const model::Execution& execution, parallel::Communicator& communicator)
    : config_(config),
      accumulation_steps_(config::accumulation_steps(config.train, communicator.world_size())),
      communicator_(communicator),
      model_(std::make_unique<model::GPT>(spec, with_granule(execution, communicator.world_size()))),
      reduction_(std::make_unique<parallel::GradientReduction>(
          communicator, model_->parameters().flat_grad(),
          parallel::GradientReduction::Options{.bucket_mb = config.parallel.bucket_mb,
                                               .shard = config.parallel.zero_stage == 1})),
      loss_sum_(at::zeros({1}, at::TensorOptions(execution.device).dtype(at::kDouble))) {
  const model::ParameterStore& parameters = model_->parameters();
  const config::OptimizerConfig& optimizer = config.optimizer;
  optimizer_ = std::make_unique<optim::AdamW>(
      parameters.flat_master(), parameters.flat_grad(),
      optim::update_slices(extents(parameters, optimizer.scale_lr_multiplier), optimizer.weight_decay),
      reduction_->owned(),
      optim::AdamWOptions{.beta1 = optimizer.betas[0], .beta2 = optimizer.betas[1], .eps = optimizer.eps},
      has_bf16_copy() && !is_sharded() ? parameters.flat_compute() : at::Tensor());
}

bool TrainingStep::has_bf16_copy() const {
  return !model_->parameters().flat_compute().is_same(model_->parameters().flat_master());
}

bool TrainingStep::is_sharded() const {
  return core::total_size(reduction_->owned()) < model_->parameters().flat_master().numel();
}

StepResult TrainingStep::run(int64_t step, data::BatchLoader& loader, metrics::PhaseTimers& timers) {
  using Scope = metrics::PhaseTimers::Scope;
  const auto phase_timer = [&timers](Phase phase) {
    return Scope(timers, static_cast<size_t>(phase));
  };
  const at::Tensor master = model_->parameters().flat_master();
  const auto flat_bytes = static_cast<double>(master.nbytes());
  const double bf16_copy_bytes =
      has_bf16_copy() ? static_cast<double>(model_->parameters().flat_compute().nbytes()) : 0.0;
  StepResult result;
  result.step = step;
  result.learning_rate = optim::learning_rate(config_.optimizer, step, config_.train.max_steps);
  loss_sum_.zero_();
  for (int64_t i = 0; i < accumulation_steps_; ++i) {
    {
      const Scope timing = phase_timer(Phase::kFetch);
      const core::ProfileScope scope("fetch");
      const data::MicroBatch& micro_batch = loader.next();
      fill_batch(micro_batch, batch_);
      // All micro-batches have the same shape on every rank, and know their step's number of predicted
      // tokens.
      result.tokens = micro_batch.step_targets;
      result.window_tokens += batch_.targets.numel() * communicator_.world_size();
    }
    const Scope timing = phase_timer(Phase::kForwardBackward);
    const bool last = i + 1 == accumulation_steps_;
    model_->forward_backward(batch_.inputs, batch_.targets, loss_sum_,
                             last ? [this](int64_t offset) { reduce_from(offset); } : model::GradientFinal(),
                             batch_.num_keys,
                             i == 0 ? model::GradientMode::kOverwrite : model::GradientMode::kAdd);
  }
  {
    const Scope timing = phase_timer(Phase::kReduce);
    reduction_->finish();
  }
  optim::ClippedGradient clipped;
  {
    const Scope timing = phase_timer(Phase::kClip);
    const core::ProfileScope scope("clip", {.flops = 0.0, .bytes = flat_bytes});
    clipped = optim::clip_by_global_norm(reduction_->squared_norm(), loss_sum_, result.tokens,
                                         config_.train.clip_grad_norm);
  }
  const Scope timing = phase_timer(Phase::kUpdate);
  // Weight, gradient and two moments are read; weight and moments are written.
  const core::ProfileScope scope("update", {.flops = 0.0, .bytes = 7.0 * flat_bytes + bf16_copy_bytes});
  optimizer_->step(step, result.learning_rate, clipped.factor);
  if (is_sharded()) {
    reduction_->gather(master);
    model_->parameters().refresh_compute();
  }
  result.loss_sum = loss_sum_;
  result.grad_norm = clipped.norm;
  result.update_factor = clipped.factor;
  return result;
}

// A non-finite loss on one rank must stop the update on all, but its gradient need not show it: so it is
// added to the gradient's last piece as NaN.
void TrainingStep::reduce_from(int64_t offset) {
  if (offset == 0 && communicator_.world_size() > 1) {
    model_->parameters().flat_grad().narrow(0, 0, 1).add_(loss_sum_ * 0.0);
  }
  reduction_->final_from(offset);
}

checkpoint::FlatState TrainingStep::flat_state() const {
  return {.layout = model_->parameters().parameters(),
          .master = model_->parameters().flat_master(),
          .exp_avg = optimizer_->exp_avg(),
          .exp_avg_sq = optimizer_->exp_avg_sq(),
          .moment_ranges = is_sharded() ? reduction_->owned() : std::vector<core::Range>()};
}

checkpoint::FlatState TrainingStep::whole_state() {
  checkpoint::FlatState state = flat_state();
  if (state.moment_ranges.empty()) return state;
  const auto gathered = [&](const at::Tensor& own) {
    const at::Tensor whole = at::zeros_like(state.master);
    int64_t first = 0;
    for (const core::Range& range : state.moment_ranges) {
      whole.narrow(0, range.begin, range.size()).copy_(own.narrow(0, first, range.size()));
      first += range.size();
    }
    reduction_->gather(whole);
    return whole.cpu();  // a GPU has no memory reserved for both
  };
  state.exp_avg = gathered(state.exp_avg);
  state.exp_avg_sq = gathered(state.exp_avg_sq);
  state.moment_ranges.clear();
  return state;
}

void TrainingStep::load(const checkpoint::FlatState& from) {
  checkpoint::load_into(from, flat_state());
  model_->parameters().refresh_compute();
}

}  // namespace ssgpt::train
