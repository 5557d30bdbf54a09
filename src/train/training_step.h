// One update of the weights: forward and backward with gradient accumulation, gradient reduction over ranks,
// clipping, AdamW. Owns the model and the optimizer. Not responsible for when to log, evaluate, save or stop.
#pragma once

#include "checkpoint/state.h"
#include "config/config.h"
#include "data/loader.h"
#include "metrics/meters.h"
#include "model/gpt.h"
#include "optim/adamw.h"
#include "parallel/communicator.h"
#include "parallel/gradient_reduction.h"
#include "train/batch.h"
#include "train/phases.h"

#include <cstdint>
#include <memory>

#include <ATen/core/Tensor.h>

namespace ssgpt::train {

// Results of one step. The tensors have one element, are on the device, and stay valid until the next step.
// Reading them waits for the device, so only a step that logs does.
struct StepResult {
  int64_t step = 0;  // number of this update, 1 for the first
  double learning_rate = 0.0;
  int64_t tokens = 0;         // predicted in this step by all ranks
  int64_t window_tokens = 0;  // computed in this step: predicted tokens, prompts and padding of examples
  at::Tensor loss_sum;        // fp64: cross-entropy summed over this rank's predicted tokens, nats
  at::Tensor grad_norm;       // fp64: norm of the mean gradient, before clipping
  at::Tensor update_factor;   // fp32: not finite if the update was skipped
};

class TrainingStep {
 public:
  // Builds the model that `spec` describes, and an optimizer with fresh moments: for this rank's share only,
  // if parallel.zero_stage asks for it. Weights are zero until they are initialised or loaded. The
  // communicator must outlive this. Throws core::UsageError if the global batch does not divide evenly among
  // the ranks.
  TrainingStep(const config::Config& config, const model::GPTSpec& spec, const model::Execution& execution,
               parallel::Communicator& communicator);

  // Performs update number `step` on this rank's next micro-batches from the loader. Called on all ranks,
  // with the communicator open. Throws core::InputError if the data cannot be read, parallel::PeerFailure if
  // a rank is lost.
  StepResult run(int64_t step, data::BatchLoader& loader, metrics::PhaseTimers& timers);

  model::GPT& model() { return *model_; }

  // Views of the live weights and of this rank's moments: a snapshot that shares their memory.
  checkpoint::FlatState flat_state() const;

  // The same with whole moments: if ranks share them out, they are gathered from all, on the CPU. All ranks.
  checkpoint::FlatState whole_state();

  // Timing and bucket count of the gradient's reduction over ranks.
  const parallel::GradientReduction& reduction() const { return *reduction_; }

  // Replaces weights and, if `from` has them, moments by those of the same name, then refreshes the compute
  // copy. Throws core::InputError if a parameter is missing in `from` or has another shape.
  void load(const checkpoint::FlatState& from);

 private:
  void reduce_from(int64_t offset);
  // Whether the compute copy is a bf16 tensor separate from the master: the update then writes both.
  bool has_bf16_copy() const;
  bool is_sharded() const;  // each rank updates a part of the weights

  const config::Config config_;
  const int64_t accumulation_steps_;
  parallel::Communicator& communicator_;
  std::unique_ptr<model::GPT> model_;
  std::unique_ptr<parallel::GradientReduction> reduction_;
  std::unique_ptr<optim::AdamW> optimizer_;
  TensorBatch batch_;
  at::Tensor loss_sum_;  // fp64 (1)
};

}  // namespace ssgpt::train
