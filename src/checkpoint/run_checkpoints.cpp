#include "checkpoint/checkpoint.h"
#include "core/error.h"
#include "core/log.h"

#include <fmt/ranges.h>

namespace ssgpt::checkpoint {
namespace {

// A checkpoint that cannot be read may be sound, so it is not skipped. The error says how the user can skip
// it, unless it `is_last`.
std::vector<std::string> faults_of(const std::filesystem::path& directory, bool is_last) {
  try {
    return verify(directory);
  } catch (const core::ReadError& error) {
    if (is_last) throw;
    throw core::ReadError(error.code(),
                          fmt::format("{}. If this persists, move the folder {} out of checkpoints/ and "
                                      "resume: the run continues from the one before.",
                                      error.what(), directory.filename().string()));
  }
}

}  // namespace

std::optional<run::Checkpoint> find_newest_valid(const run::RunDirectory& directory) {
  const std::vector<run::Checkpoint> all = directory.named_checkpoints();
  for (auto one = all.rbegin(); one != all.rend(); ++one) {
    const std::vector<std::string> faults = faults_of(one->directory, /*is_last=*/one + 1 == all.rend());
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
