// Which values of the schema this build cannot honour.
#pragma once

#include "config/config.h"

#include <optional>
#include <string>
#include <string_view>

namespace ssgpt::config {

// Why the value of `key` is refused; none where this build honours it.
std::optional<std::string> refusal(std::string_view key, const Config& config);

}  // namespace ssgpt::config
