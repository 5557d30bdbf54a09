// The trainings behind a checkpoint from which a new run begins, for that run's record.
#pragma once

#include "run/record.h"

#include <filesystem>
#include <vector>

namespace ssgpt::start {

struct Parentage {
  // In the directory of the run that keeps it, whichever link or relative path led there; otherwise, as for a
  // model that no trainer wrote or a copy on its own, the absolute path.
  std::filesystem::path checkpoint;
  // From the first training to the one that wrote the checkpoint. Empty if they are not all known: no trainer
  // wrote it, its run is not around it, or that run was begun by an earlier version from a checkpoint of its
  // own.
  std::vector<run::Ancestor> ancestors;
};

// Throws core::InputError if the checkpoint or its run's record cannot be read.
Parentage parentage_of(const std::filesystem::path& checkpoint);

}  // namespace ssgpt::start
