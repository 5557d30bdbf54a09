// Loads a checkpoint as a model ready for evaluation.
#pragma once

#include "checkpoint/state.h"
#include "config/config.h"
#include "evaluation/overrides.h"
#include "model/gpt.h"

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>

namespace ssgpt::evaluation {

// The device that a checkpoint runs on, and the precision.
struct Placement {
  config::Device device = config::Device::kCpu;  // kAuto: a GPU if there is one
  bool bfloat16 = false;                         // false: fp32
};

struct LoadOptions {
  std::optional<int64_t> sequence_length = {};  // longest window; default: the checkpoint's own
  Overrides overrides = {};
  Placement placement = {};
};

// a1 log n + a2, the unweighted least-squares fit to a learned p_n over n = 1 ... entries (the line that the
// paper finds in its figure 2).
struct PnFit {
  double a1 = 0.0;
  double a2 = 0.0;
  double rms_residual = 0.0;  // root mean square of p_n - (a1 log n + a2)
  double max_residual = 0.0;  // largest magnitude of the same
  int64_t entries = 0;        // number of table entries: the trained length
};

// Computed in fp64. position: p_1 ... p_n, at least two entries.
PnFit fit_position(std::span<const float> position);

struct LoadedModel {
  std::unique_ptr<model::GPT> model;  // without a gradient: it cannot be trained
  std::optional<checkpoint::TrainerState> trainer;
  int64_t trained_length = 0;   // positions in a training window, by the checkpoint's config
  double rope_theta = 0.0;      // in effect
  std::optional<PnFit> pn_fit;  // set if windows reach beyond a learned p_n: the entries beyond come from it
};

// Loads the weights of `checkpoint`, with the overrides applied, into a model for windows of up to
// options.sequence_length. If that is beyond a learned p_n, the learned entries stay and those beyond come
// from the fit; for shorter windows the model has only the first entries of p_n. Throws core::InputError if
// the checkpoint cannot be loaded; core::UsageError for an override out of its range, for windows beyond a
// learned p_n without extend_pn, and if the device is not available or cannot compute the model. Selects the
// GPU that it computes on.
LoadedModel load_model(const std::filesystem::path& checkpoint, const LoadOptions& options);

}  // namespace ssgpt::evaluation
