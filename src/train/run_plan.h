// Decides how a training run starts: fresh, resumed, forked from another run, or with another model's
// weights. All rules about what may differ between a checkpoint and the config stand here. Touches no files
// but to read them.
#pragma once

#include "checkpoint/checkpoint.h"
#include "config/config.h"
#include "parallel/board.h"

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace ssgpt::train {

// The command line of `ssgpt train`.
struct TrainOptions {
  std::optional<std::filesystem::path>
      config;  // may be left out where a run is resumed: its checkpoints hold it
  std::vector<std::string> overrides;
  std::optional<std::filesystem::path> run_directory;  // default: runs/<run.name>
  std::optional<std::string> resume;                   // "auto", a checkpoint or a run directory
  std::optional<std::filesystem::path> init_from;  // a checkpoint, or a Llama model directory of Hugging Face
  std::optional<config::AttentionKind> swap_attention;
};

enum class StartMode {
  kFresh,     // initial values, new run directory
  kInitFrom,  // the weights of `checkpoint`, new run directory
  kContinue,  // everything of `checkpoint`, the run directory that it stands in
  kFork,      // everything of `checkpoint`, new run directory
};

struct RunPlan {
  StartMode mode = StartMode::kFresh;
  config::Config config;  // resolved but for device and dtype where these are auto
  std::filesystem::path run_directory;
  std::optional<std::filesystem::path> checkpoint;
  bool checkpoint_is_verified = false;  // its checksums were checked when it was chosen
  std::string run_id;                   // of the run; kept by kContinue, new otherwise
  int64_t first_step = 0;               // finished updates
  config::AttentionKind kind = config::AttentionKind::kSoftmax;  // of the model that training starts with
  std::optional<config::SwapAttention> manual_swap;              // made by --swap-attention, now or before
  bool restarts = false;  // the directory holds a run that never saved: it is begun again
};

// All ranks, each with its own board: every rank plans from the same files and comes to the same plan, for
// which rank 0 alone looks for the newest checkpoint and draws the run's id. Throws core::UsageError where
// the options, the config and the checkpoint do not fit together (all differences listed), core::InputError
// where a checkpoint does not load.
RunPlan plan_run(const TrainOptions& options, parallel::Board& board);

// The kind of update number `update` (1 for the first): of the later of the two swaps that come before it,
// the one by hand where both are at the same step, else model.attention.kind.
config::AttentionKind kind_of_update(const config::Config& config,
                                     const std::optional<config::SwapAttention>& manual_swap, int64_t update);

}  // namespace ssgpt::train
