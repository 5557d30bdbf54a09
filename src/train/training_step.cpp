#include "train/training_step.h"

#include "core/profile.h"
#include "optim/clip.h"
#include "optim/decay.h"
#include "optim/schedule.h"

#include <string>
#include <utility>
#include <vector>

#include <ATen/ops/zeros.h>

namespace ssgpt::train {
namespace {

std::vector<optim::TensorExtent> extents(const model::ParameterStore& parameters) {
  std::vector<optim::TensorExtent> result;
  for (const model::Parameter& parameter : parameters.parameters()) {
    result.push_back({.offset = parameter.offset,
                      .numel = parameter.numel,
                      .rank = static_cast<int64_t>(parameter.spec.shape.size())});
  }
  return result;
}

}  // namespace

metrics::PhaseTimers make_phase_timers() {
  return metrics::PhaseTimers({"fetch", "forward and backward", "clip", "update", "evaluate", "checkpoint"});
}

TrainingStep::TrainingStep(const config::Config& config, const model::GPTSpec& spec,
                           const model::Execution& execution)
    : config_(config),
      accumulation_steps_(config::accumulation_steps(config.train)),
      model_(std::make_unique<model::GPT>(spec, execution)),
      loss_sum_(at::zeros({1}, at::TensorOptions(execution.device).dtype(at::kDouble))) {
  const model::ParameterStore& parameters = model_->parameters();
  const config::OptimizerConfig& optimizer = config.optimizer;
  optimizer_ = std::make_unique<optim::AdamW>(
      parameters.flat_master(), parameters.flat_grad(),
      optim::decay_slices(extents(parameters), optimizer.weight_decay),
      optim::AdamWOptions{.beta1 = optimizer.betas[0], .beta2 = optimizer.betas[1], .eps = optimizer.eps});
}

StepResult TrainingStep::run(int64_t step, data::BatchLoader& loader, metrics::PhaseTimers& timers) {
  using Scope = metrics::PhaseTimers::Scope;
  const auto phase_timer = [&timers](Phase phase) {
    return Scope(timers, static_cast<size_t>(phase));
  };
  const at::Tensor master = model_->parameters().flat_master();
  const at::Tensor compute = model_->parameters().flat_compute();
  const auto flat_bytes = static_cast<double>(master.nbytes());
  const double shadow_bytes =
      compute.is_same(master) ? 0.0 : flat_bytes + static_cast<double>(compute.nbytes());
  StepResult result;
  result.step = step;
  result.learning_rate = optim::learning_rate(config_.optimizer, step, config_.train.max_steps);
  {
    const core::ProfileScope scope("zero the gradient", {.flops = 0.0, .bytes = flat_bytes});
    model_->parameters().zero_grad();
    loss_sum_.zero_();
  }
  for (int64_t i = 0; i < accumulation_steps_; ++i) {
    {
      const Scope timing = phase_timer(Phase::kFetch);
      const core::ProfileScope scope("fetch");
      const data::MicroBatch& micro_batch = loader.next();
      fill_batch(micro_batch.tokens, micro_batch.rows, micro_batch.columns, batch_);
      result.tokens += batch_.targets.numel();
    }
    const Scope timing = phase_timer(Phase::kForwardBackward);
    model_->forward_backward(batch_.inputs, batch_.targets, loss_sum_);
  }
  optim::ClippedGradient clipped;
  {
    const Scope timing = phase_timer(Phase::kClip);
    const core::ProfileScope scope("clip", {.flops = 0.0, .bytes = flat_bytes});
    clipped = optim::clip_by_global_norm(model_->parameters().flat_grad(), loss_sum_, result.tokens,
                                         config_.train.clip_grad_norm);
  }
  const Scope timing = phase_timer(Phase::kUpdate);
  // Weight, gradient and two moments are read, weight and moments written.
  const core::ProfileScope scope("update", {.flops = 0.0, .bytes = 7.0 * flat_bytes + shadow_bytes});
  optimizer_->step(step, result.learning_rate, clipped.factor);
  model_->parameters().refresh_compute();
  result.loss_sum = loss_sum_;
  result.grad_norm = clipped.norm;
  result.update_factor = clipped.factor;
  return result;
}

checkpoint::FlatState TrainingStep::flat_state() const {
  return {.layout = model_->parameters().parameters(),
          .master = model_->parameters().flat_master(),
          .exp_avg = optimizer_->exp_avg(),
          .exp_avg_sq = optimizer_->exp_avg_sq()};
}

void TrainingStep::load(const checkpoint::FlatState& from) {
  checkpoint::load_into(from, flat_state());
  model_->parameters().refresh_compute();
}

}  // namespace ssgpt::train
