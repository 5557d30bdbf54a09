// trainer/state.json: TrainerState as text and back, doubles bit for bit.
#pragma once

#include "checkpoint/state.h"

#include <filesystem>
#include <string>

namespace ssgpt::checkpoint {

std::string trainer_state_text(const TrainerState& state);
TrainerState read_trainer_state(const std::filesystem::path& path);  // throws core::InputError

}  // namespace ssgpt::checkpoint
