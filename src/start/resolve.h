// Determines what a run begins from (its mode, config, directory, checkpoint and state) from the command line
// and the files on disk. Opens no weights, and data only to count the steps of an epoch, unless a resumed
// run's checkpoint has that number.
#pragma once

#include "run/directory.h"
#include "start/start.h"

#include <functional>
#include <optional>

namespace ssgpt::start {

// Returns the newest valid checkpoint of a run; nullopt if it has no checkpoint at all.
using FindNewest = std::function<std::optional<run::Checkpoint>(const run::RunDirectory&)>;

// Leaves device and dtype as requested. Throws as begin() does.
Start resolve(const Options& options, const FindNewest& find_newest);

}  // namespace ssgpt::start
