// One update of the weights: micro-batches forward and backward, the gradient summed over ranks, clip, AdamW.
// Owns the model and the optimizer. Not responsible for when to log, evaluate, save or stop.
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

// What one step leaves behind. The tensors are on the device, of one element, and valid until the next step:
// reading them waits for the device, so only a step that logs does.
struct StepResult {
  int64_t step = 0;  // number of this update, 1 for the first
  double learning_rate = 0.0;
  int64_t tokens = 0;         // predicted in this step by all ranks
  int64_t window_tokens = 0;  // computed in it: those, prompts and padding of examples
  at::Tensor loss_sum;        // fp64: cross-entropy summed over those of this rank, nats
  at::Tensor grad_norm;       // fp64: of the mean gradient, before clipping
  at::Tensor update_factor;   // fp32: not finite where the update was skipped
};

class TrainingStep {
 public:
  // Builds the model that `spec` describes and an optimizer with fresh moments: of this rank's share, where
  // parallel.zero_stage asks for it. Weights are zero until they are initialised or loaded. The communicator
  // outlives this. Throws core::UsageError where the global batch does not divide among the ranks.
  TrainingStep(const config::Config& config, const model::GPTSpec& spec, const model::Execution& execution,
               parallel::Communicator& communicator);

  // Update number `step` from the loader's next micro-batches, which are this rank's; all ranks, with the
  // communicator open. Throws core::InputError where the data do not read, parallel::PeerFailure where a rank
  // is lost.
  StepResult run(int64_t step, data::BatchLoader& loader, metrics::PhaseTimers& timers);

  model::GPT& model() { return *model_; }

  // Views of the live weights and of the moments that this rank holds: a snapshot that shares their memory.
  checkpoint::FlatState flat_state() const;

  // The same with whole moments, where the ranks share them out gathered from all, on the CPU. All ranks.
  checkpoint::FlatState whole_state();

  // Time and size of the gradient's way through the other ranks.
  const parallel::GradientReduction& reduction() const { return *reduction_; }

  // Replaces weights and, where `from` has them, moments by those of the same name, then refreshes the
  // compute copy. Throws core::InputError where a parameter is missing in `from`, or has another shape.
  void load(const checkpoint::FlatState& from);

 private:
  void reduce_from(int64_t offset);
  bool has_bf16_copy()
      const;                // the compute copy is another tensor than the master, and the update writes both
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
