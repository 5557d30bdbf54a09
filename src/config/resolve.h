// Turns one value per key into a Config.
#pragma once

#include "config/config.h"
#include "config/faults.h"
#include "config/source.h"

#include <string>

namespace ssgpt::config {

// Builds the config that `source` describes, with every rule checked. Adds all faults, including those of the
// source, to `faults`; the config is valid only if none was added. `file` is the file that the user named,
// the origin of faults about missing keys.
Config resolve(const Source& source, const std::string& file, Faults& faults);

}  // namespace ssgpt::config
