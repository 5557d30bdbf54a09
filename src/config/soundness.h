// The rules of a config, for one that was changed after it was read.
#pragma once

#include "config/config.h"

#include <string_view>

namespace ssgpt::config {

// Throws core::UsageError that lists what is wrong with the config, so that what is dumped of it reads back.
// `origin` stands for the file in the message, which names no line.
void require_sound(const Config& config, std::string_view origin);

}  // namespace ssgpt::config
