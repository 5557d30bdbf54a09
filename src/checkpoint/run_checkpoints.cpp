#include "checkpoint/checkpoint.h"
#include "checkpoint/manifest.h"
#include "core/error.h"
#include "core/log.h"

#include <algorithm>
#include <charconv>
#include <system_error>

#include <fmt/format.h>
#include <fmt/ranges.h>

namespace ssgpt::checkpoint {

namespace {

constexpr std::string_view kStepPrefix = "step-";

// Every directory that is named as a checkpoint, with a manifest or without, by rising step.
std::vector<Entry> step_directories(const std::filesystem::path& run_directory) {
  std::vector<Entry> entries;
  const std::filesystem::path parent = run_directory / "checkpoints";
  std::error_code error;
  for (std::filesystem::directory_iterator it(parent, error), end; !error && it != end; it.increment(error)) {
    const std::string name = it->path().filename().string();
    int64_t step = 0;
    const char* digits = name.data() + std::min(kStepPrefix.size(), name.size());
    std::from_chars(digits, name.data() + name.size(), step);
    // The name is made again from the number, so that "step-1-copy" and "step-1" are nobody's checkpoints.
    if (it->path().filename() == step_directory(run_directory, step).filename() && it->is_directory(error)) {
      entries.push_back({.step = step, .directory = it->path()});
    }
  }
  if (error && error != std::errc::no_such_file_or_directory) {
    throw core::InputError("{}: cannot be listed: {}", parent.string(), error.message());
  }
  std::sort(entries.begin(), entries.end(), [](const Entry& a, const Entry& b) { return a.step < b.step; });
  return entries;
}

}  // namespace

std::filesystem::path step_directory(const std::filesystem::path& run_directory, int64_t step) {
  return run_directory / "checkpoints" / fmt::format("{}{:08}", kStepPrefix, step);
}

std::vector<Entry> list(const std::filesystem::path& run_directory) {
  std::vector<Entry> entries = step_directories(run_directory);
  std::erase_if(entries, [](const Entry& entry) {
    std::error_code ignored;
    return !std::filesystem::exists(entry.directory / kManifestName, ignored);
  });
  return entries;
}

std::optional<Entry> find_newest_valid(const std::filesystem::path& run_directory) {
  const std::vector<Entry> entries = step_directories(run_directory);
  for (auto entry = entries.rbegin(); entry != entries.rend(); ++entry) {
    const std::vector<std::string> faults = verify(entry->directory);
    if (faults.empty()) {
      return *entry;
    }
    core::log::warning("the checkpoint {} is passed over: {}", entry->directory.string(),
                       fmt::join(faults, "; "));
  }
  if (!entries.empty()) {
    throw core::InputError(
        "{}: none of its {} checkpoints is intact, so the run cannot be continued; start a new run in "
        "another directory, "
        "or restore a checkpoint from a copy",
        run_directory.string(), entries.size());
  }
  return std::nullopt;
}

}  // namespace ssgpt::checkpoint
