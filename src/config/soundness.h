// Validates a config that was changed after it was read.
#pragma once

#include "config/config.h"

#include <string_view>

namespace ssgpt::config {

// Throws core::UsageError listing all faults of the config, so that its dump is sure to read back. Messages
// use `origin` as the file name, without a line.
void require_sound(const Config& config, std::string_view origin);

}  // namespace ssgpt::config
