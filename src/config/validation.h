// Rules that involve several keys. The range of each single key is in schema.cpp.
#pragma once

#include "config/config.h"
#include "config/source.h"

namespace ssgpt::config {

// Adds the faults of `config`, which was read from `entries`. Skips rules that involve a key in `faulty`,
// whose value is not what the user meant. `file` is the origin of faults about keys that no file sets.
void validate(const Config& config, const Entries& entries, const std::vector<std::string>& faulty,
              const std::string& file, Faults& faults);

}  // namespace ssgpt::config
