// Where a training run begins: fresh, resumed, forked from another run, or with another model's weights.
// Everything that is decided before the first step is decided here, once, and is the same on all ranks.
#pragma once

#include "checkpoint/state.h"
#include "config/config.h"
#include "model/gpt.h"
#include "parallel/communicator.h"
#include "parallel/environment.h"
#include "run/directory.h"
#include "start/data_sources.h"

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace ssgpt::start {

// The command line of `ssgpt train`.
struct Options {
  std::optional<std::filesystem::path> config;  // not needed for a resume: checkpoints hold it
  std::vector<std::string> overrides;
  std::optional<std::filesystem::path> run_directory;  // default: runs/<run.name>
  std::optional<std::string> resume;                   // "auto", a checkpoint or a run directory
  // A checkpoint, or a Hugging Face directory of a Llama or Qwen 3 model.
  std::optional<std::filesystem::path> init_from;
  std::optional<config::AttentionKind> swap_attention;
};

enum class Mode {
  kFresh,     // initial values, new run directory
  kInitFrom,  // the weights of `checkpoint`, new run directory
  kContinue,  // everything of `checkpoint`, the run directory that it is in
  kFork,      // everything of `checkpoint`, new run directory
};

struct Start {
  Mode mode = Mode::kFresh;
  // Resolved: device, dtype and backend are not auto, and train.swap_attention holds every swap of the run,
  // including those by --swap-attention, so that it determines the attention kind at each step.
  config::Config config;
  run::RunDirectory directory;
  bool restarts = false;  // the directory holds a run that never saved: it is begun again
  std::optional<std::filesystem::path> checkpoint;  // nullopt: kFresh
  bool checkpoint_is_verified = false;              // its checksums were checked when it was chosen
  checkpoint::TrainerState state;                   // with this run's identity; step 0 in a new run
  // On the CPU, with the attention of the first update; with moments except for kInitFrom. nullopt: initial
  // values.
  std::optional<checkpoint::FlatState> weights;
  DataSources data;

  bool is_new_run() const { return mode != Mode::kContinue; }
  // The run has no step left; in that case begin() opens neither data nor weights.
  bool is_complete() const { return mode == Mode::kContinue && state.step == config.train.max_steps; }
  // Kind of the model in the first update.
  config::AttentionKind attention_kind() const { return config::attention_kind(config, state.step + 1); }
  model::GPTSpec spec() const;
};

// Called on all ranks of the communicator; the Start is the same on all, except for what each reads of its
// own files. Rank 0 finds the newest checkpoint, draws the run's id and measures what `auto` resolves to.
// Selects this rank's GPU, if the run computes on one; from then on a rank counts as lost after the config's
// timeout. Writes nothing. Throws core::UsageError if the options, the config and the checkpoint do not fit
// together (listing all differences), or if this rank would not train the same model on the same data by the
// same program as rank 0; core::InputError if a checkpoint or data cannot be loaded; parallel::PeerFailure if
// another rank fails.
Start begin(const Options& options, parallel::Communicator& communicator);

// The same for a single process that does not train.
Start begin_alone(const Options& options);

}  // namespace ssgpt::start
