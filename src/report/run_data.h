// What a run directory says about a finished or running training.
#pragma once

#include "config/config.h"

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace ssgpt::report {

// One line of metrics.jsonl with a training loss: the mean over the steps first_step..last_step, both
// included.
struct TrainPoint {
  int64_t first_step = 0;
  int64_t last_step = 0;
  int64_t tokens = 0;  // seen by the end of last_step
  double loss = 0.0;   // NaN where it was not finite
};

struct ValidationPoint {
  int64_t step = 0;
  int64_t tokens = 0;
  double loss = 0.0;  // likewise
};

struct RunData {
  std::filesystem::path directory;
  config::Config config;
  std::string info;                                  // run.json as it stands, "{}" where there is none
  std::optional<config::SwapAttention> manual_swap;  // by --swap-attention, as run.json says
  std::string parent;                  // checkpoint that a fork or --init-from began at; empty: none
  std::optional<int64_t> first_step;   // finished steps when the run began, above 0 for a fork; where known
  std::string data_fingerprint;        // of the training shards; empty where run.json does not say
  std::string validation_fingerprint;  // of the validation shards, likewise
  std::optional<int64_t> validation_windows;  // that a validation reads; where run.json says
  int64_t validation_since = 0;   // validation losses up to this step may be of other shards or windows
  std::vector<TrainPoint> train;  // steps rise; each point begins where the one before it ended
  std::vector<ValidationPoint> validation;  // steps rise
  bool torn_last_line = false;              // a writer was killed, or is writing: the line was passed over
};

// Reads config.yaml, run.json and metrics.jsonl. The first training point covers the steps since the run
// began. Where run.json does not say where that was, all steps up to its own, but log.every steps where
// run.json names a parent (a fork begins in the middle) or is absent.
// Throws core::InputError that names file and line for what is missing or damaged, for steps that repeat or
// fall, and for a run without a training loss.
RunData read_run(const std::filesystem::path& directory);

}  // namespace ssgpt::report
