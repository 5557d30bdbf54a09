#include "run/ownership.h"

#include "core/error.h"
#include "core/file.h"
#include "run/record.h"

#include <algorithm>
#include <filesystem>
#include <optional>
#include <vector>

namespace ssgpt::run {
namespace {

namespace fs = std::filesystem;

// A link would be replaced, or followed to a file of unknown ownership.
void require_ordinary(const fs::path& file) {
  const fs::file_status status = core::link_status(file);
  if (!fs::exists(status) || fs::is_regular_file(status)) return;
  throw core::UsageError(
      "{} is {}, and a run writes that file in its own directory: move it away, or choose another --run-dir. "
      "(The directory itself, and its folder checkpoints, may be links.)",
      file.string(), fs::is_symlink(status) ? "a symbolic link" : "not a regular file");
}

// A file that stands where a run would write its own; nullopt where a run is already here, or may begin.
std::optional<fs::path> foreign_file(const RunDirectory& directory) {
  if (is_record(directory) || !directory.named_checkpoints().empty()) return std::nullopt;
  std::vector<fs::path> candidates = {directory.record(), directory.config(), directory.metrics(),
                                      directory.samples(), directory.log()};
  for (const fs::path& entry : core::list_directory(directory.path())) {
    if (entry.filename().string().starts_with(kEventsPrefix)) candidates.push_back(entry);
  }
  const auto found = std::find_if(candidates.begin(), candidates.end(),
                                  [](const fs::path& candidate) { return core::exists(candidate); });
  // Another process may be starting a run right now; its first file, the record, then exists by now.
  return found == candidates.end() || is_record(directory) ? std::nullopt : std::optional(*found);
}

void require_own_checkpoints(const RunDirectory& directory) {
  const fs::path folder = directory.checkpoints();
  if (!core::exists(folder)) return;
  if (!core::is_directory(folder)) {
    throw core::UsageError(
        "{} is not a folder, and a run saves its checkpoints there: move it away, or choose another "
        "--run-dir.",
        folder.string());
  }
  if (!fs::is_symlink(core::link_status(folder))) return;
  const RunDirectory owner(fs::canonical(folder).parent_path());
  if (!core::exists(owner.record()) || fs::equivalent(owner.path(), directory.path())) return;
  throw core::UsageError(
      "{} is a link to the checkpoints of another run, {}, which would be replaced and deleted as if they "
      "were this run's. Link it to a folder of its own; to go on from that run in a new one, use --resume {} "
      "with another --run-dir.",
      folder.string(), owner.path().string(), owner.path().string());
}

}  // namespace

void require_own_files(const RunDirectory& directory) {
  for (const fs::path& file : {directory.lock(), directory.record(), directory.config(), directory.metrics(),
                               directory.samples(), directory.log()}) {
    require_ordinary(file);
  }
  require_own_checkpoints(directory);
  if (const auto file = foreign_file(directory)) {
    throw core::UsageError(
        "{} is not a run's: there is no run in {}, and one that begins there would write over such files or "
        "append to them. Choose another --run-dir, or move the file away.",
        file->string(), directory.path().string());
  }
}

}  // namespace ssgpt::run
