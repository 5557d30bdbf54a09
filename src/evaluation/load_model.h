// A model ready for evaluation, out of a checkpoint.
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

// Where a checkpoint is computed with, and in which precision.
struct Placement {
  config::Device device = config::Device::kCpu;  // kAuto: on a GPU where there is one
  bool bfloat16 = false;                         // else fp32
};

struct LoadOptions {
  std::optional<int64_t> sequence_length = {};  // longest window; the checkpoint's own where it is left out
  Overrides overrides = {};
  Placement placement = {};
};

// a1 log n + a2, the least-squares line through a learned p_n over n = 1 ... entries, each entry with the
// same weight (the line that the paper finds in its figure 2).
struct PnFit {
  double a1 = 0.0;
  double a2 = 0.0;
  double rms_residual = 0.0;  // the root of the mean square of p_n - (a1 log n + a2)
  double max_residual = 0.0;  // the largest magnitude
  int64_t entries = 0;        // of the table: the trained length
};

// In fp64.   position: p_1 ... p_n, at least two.
PnFit fit_position(std::span<const float> position);

struct LoadedModel {
  std::unique_ptr<model::GPT> model;  // without a gradient: it cannot be trained
  std::optional<checkpoint::TrainerState> trainer;
  int64_t trained_length = 0;   // positions of a window of training, by the checkpoint's config
  double rope_theta = 0.0;      // in effect
  std::optional<PnFit> pn_fit;  // where windows reach beyond a learned p_n: those entries come from it
};

// Reads the weights of `checkpoint` into a model whose windows may be options.sequence_length long, with the
// overrides. Where that is beyond a learned p_n, the learned entries stay and those beyond come from the fit;
// shorter windows read the first entries of p_n, and the model has only those. Throws core::InputError where
// the checkpoint does not load; core::UsageError for an override out of its range, for windows beyond a
// learned p_n without extend_pn, and where the device is not there or cannot compute the model. Takes the GPU
// that it computes on.
LoadedModel load_model(const std::filesystem::path& checkpoint, const LoadOptions& options);

}  // namespace ssgpt::evaluation
