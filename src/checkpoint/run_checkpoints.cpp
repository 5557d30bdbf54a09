#include "checkpoint/checkpoint.h"
#include "core/error.h"
#include "core/log.h"

#include <fmt/ranges.h>

namespace ssgpt::checkpoint {

std::optional<run::Checkpoint> find_newest_valid(const run::RunDirectory& directory) {
  const std::vector<run::Checkpoint> all = directory.named_checkpoints();
  for (auto one = all.rbegin(); one != all.rend(); ++one) {
    const std::vector<std::string> faults = verify(one->directory);
    if (faults.empty()) return *one;
    core::log::warning("the checkpoint {} is passed over: {}", one->directory.string(),
                       fmt::join(faults, "; "));
  }
  if (!all.empty()) {
    throw core::InputError(
        "{}: none of its {} checkpoints is intact, so the run cannot be continued; start a new run in "
        "another directory, or restore a checkpoint from a copy",
        directory.path().string(), all.size());
  }
  return std::nullopt;
}

}  // namespace ssgpt::checkpoint
