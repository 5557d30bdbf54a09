// A model ready for evaluation, out of a checkpoint.
#pragma once

#include "checkpoint/state.h"
#include "model/gpt.h"

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>

namespace ssgpt::evaluation {

struct LoadedModel {
  std::unique_ptr<model::GPT> model;
  std::optional<checkpoint::TrainerState> trainer;
};

// Reads the weights of `checkpoint` into a model whose windows may be `sequence_length` long (the
// checkpoint's own where it is left out). Throws core::InputError where the checkpoint does not load,
// core::UsageError where the learned p_n does not reach that far; shorter windows read its first entries, and
// the model has only those.
LoadedModel load_model(const std::filesystem::path& checkpoint, std::optional<int64_t> sequence_length,
                       const model::Execution& execution);

}  // namespace ssgpt::evaluation
