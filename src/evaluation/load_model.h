// A model ready for evaluation, out of a checkpoint.
#pragma once

#include "checkpoint/state.h"
#include "config/config.h"
#include "model/gpt.h"

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>

namespace ssgpt::evaluation {

// Where a checkpoint is computed with, and in which precision.
struct Placement {
  config::Device device = config::Device::kCpu;  // kAuto: on a GPU where there is one
  bool bfloat16 = false;                         // else fp32
};

struct LoadedModel {
  std::unique_ptr<model::GPT> model;
  std::optional<checkpoint::TrainerState> trainer;
};

// Reads the weights of `checkpoint` into a model whose windows may be `sequence_length` long (the
// checkpoint's own where it is left out). Throws core::InputError where the checkpoint does not load,
// core::UsageError where the learned p_n does not reach that far, and where the device is not there or cannot
// compute the model; shorter windows read the first entries of p_n, and the model has only those. Takes the
// GPU that it computes on.
LoadedModel load_model(const std::filesystem::path& checkpoint, std::optional<int64_t> sequence_length,
                       const Placement& placement);

}  // namespace ssgpt::evaluation
