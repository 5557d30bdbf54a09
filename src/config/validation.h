// Rules that tie several keys together. The range of each key alone is in schema.cpp.
#pragma once

#include "config/config.h"
#include "config/source.h"

namespace ssgpt::config {

// Adds the faults of `config`, which was read from `entries`. A rule is left out where one of its keys is in
// `faulty`: its value is not what the user meant. `file` stands for keys that no file gives.
void validate(const Config& config, const Entries& entries, const std::vector<std::string>& faulty,
              const std::string& file, Faults& faults);

}  // namespace ssgpt::config
