// One value for each key becomes a Config.
#pragma once

#include "config/config.h"
#include "config/faults.h"
#include "config/source.h"

#include <string>

namespace ssgpt::config {

// What `source` describes, with every rule checked. Adds what is wrong to `faults`, that of the source
// included; the config is sound where nothing was added. `file` is what the user named: it stands for keys
// that are nowhere.
Config resolve(const Source& source, const std::string& file, Faults& faults);

}  // namespace ssgpt::config
