// What a run begins with: weights, moments and state, as the plan says; and the files of its directory.
#pragma once

#include "checkpoint/state.h"
#include "train/data_sources.h"
#include "train/run_plan.h"
#include "train/training_step.h"

#include <memory>
#include <optional>
#include <string>

namespace ssgpt::train {

// What a checkpoint gives to the run, with the attention that the run goes on with.
struct StartingPoint {
  std::optional<checkpoint::Snapshot> snapshot;  // none: initial values
  checkpoint::TrainerState state;                // with this run's identity; device and dtype resolved
};

// Reads plan.checkpoint, if there is one. Throws core::InputError where it does not load, or where the
// training shards are not those of the run that is resumed.
StartingPoint read_start(const RunPlan& plan, const DataSources& sources);

struct Start {
  std::unique_ptr<TrainingStep> training_step;  // with its weights and moments
  checkpoint::TrainerState state;
};

// Builds the model and the optimizer with initial values or those of the checkpoint. Writes nothing. The
// communicator outlives what is returned.
Start make_start(const RunPlan& plan, const DataSources& sources, parallel::Communicator& communicator);

// Throws where this rank would not train the same model on the same data by the same program as rank 0
// (core::UsageError), or another rank would not (parallel::PeerFailure). All ranks.
void require_same_start(const RunPlan& plan, const DataSources& sources, const Start& start,
                        parallel::Board& board);

// Log file, config.yaml, run.json; cuts what a resumed run makes again. On rank 0, whose caller holds the
// RunLock. Throws core::UsageError where another process changed the directory since it was planned.
void prepare_run_directory(const RunPlan& plan, const DataSources& sources, const Start& start,
                           const std::string& command_line, int64_t num_ranks);

}  // namespace ssgpt::train
