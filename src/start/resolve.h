// From the command line and what stands on the disk to what a run begins from: its mode, config, directory,
// checkpoint and state. Opens no weights, and data only where their epochs are to be counted in steps, which
// the checkpoint of a run knows.
#pragma once

#include "run/directory.h"
#include "start/start.h"

#include <functional>
#include <optional>

namespace ssgpt::start {

// The newest checkpoint of a run that is sound; none where it has none at all.
using FindNewest = std::function<std::optional<run::Checkpoint>(const run::RunDirectory&)>;

// Device and dtype stay as they are asked for. Throws as begin() does.
Start resolve(const Options& options, const FindNewest& find_newest);

}  // namespace ssgpt::start
