#include "run/directory.h"

#include "core/error.h"
#include "core/file.h"
#include "core/system_message.h"

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <fcntl.h>
#include <string>
#include <string_view>
#include <sys/file.h>
#include <unistd.h>

#include <fmt/format.h>

namespace ssgpt::run {
namespace {

constexpr std::string_view kStepPrefix = "step-";

// Follows no link and does not wait for a FIFO. Returns -1, with errno set, where it cannot be opened.
int open_lock(const std::filesystem::path& path, int flags) {
  constexpr int kAlways = O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK;
  const int descriptor = open(path.c_str(), O_RDWR | flags | kAlways, 0666);
  // Locking works on a read-only descriptor too, except on some network file systems.
  return descriptor < 0 && errno == EACCES ? open(path.c_str(), O_RDONLY | kAlways) : descriptor;
}

}  // namespace

std::filesystem::path RunDirectory::checkpoint(int64_t step) const {
  return checkpoints() / fmt::format("{}{:08}", kStepPrefix, step);
}

bool RunDirectory::holds_run() const {
  return core::exists(record()) || !named_checkpoints().empty();
}

std::vector<Checkpoint> RunDirectory::named_checkpoints() const {
  std::vector<Checkpoint> found;
  for (const std::filesystem::path& entry : core::list_directory(checkpoints())) {
    const std::string name = entry.filename().string();
    int64_t step = 0;
    const char* digits = name.data() + std::min(kStepPrefix.size(), name.size());
    std::from_chars(digits, name.data() + name.size(), step);
    // Compared with the canonical name of this step, so that "step-1-copy" and "step-1" do not count as
    // checkpoints.
    if (entry.filename() == checkpoint(step).filename() && core::is_directory(entry)) {
      found.push_back({.step = step, .directory = entry});
    }
  }
  std::sort(found.begin(), found.end(),
            [](const Checkpoint& a, const Checkpoint& b) { return a.step < b.step; });
  return found;
}

std::vector<Checkpoint> RunDirectory::complete_checkpoints() const {
  std::vector<Checkpoint> found = named_checkpoints();
  std::erase_if(found, [](const Checkpoint& one) { return !core::exists(one.directory / kManifestName); });
  return found;
}

std::optional<Checkpoint> newest_checkpoint(const std::filesystem::path& path) {
  const RunDirectory directory(path);
  if (!directory.holds_run()) return std::nullopt;
  std::vector<Checkpoint> saved = directory.complete_checkpoints();
  if (saved.empty()) throw core::InputError("{}: this run has no complete checkpoint yet.", path.string());
  return std::move(saved.back());
}

std::filesystem::path run_of(const std::filesystem::path& checkpoint) {
  const std::filesystem::path directory = checkpoint.has_filename() ? checkpoint : checkpoint.parent_path();
  const std::filesystem::path folder = directory.parent_path();
  return folder.filename() == "checkpoints" ? folder.parent_path() : directory;
}

Lock::Lock(const RunDirectory& directory, std::string_view work) {
  const std::filesystem::path path = directory.lock();
  descriptor_ = open_lock(path, O_CREAT);
  if (descriptor_ < 0) {
    throw core::RunError("{} cannot be opened: {}.", path.string(), core::system_message(errno));
  }
  // A process that calls is_locked() holds the lock for an instant.
  constexpr int kTries = 5;
  const auto fault = [this] {
    return flock(descriptor_, LOCK_EX | LOCK_NB) == 0 ? 0 : errno;
  };
  int error = fault();
  for (int tries = 1; error == EWOULDBLOCK && tries < kTries; ++tries) {
    usleep(20'000);
    error = fault();
  }
  if (error == EBADF) {  // from a network file system that locks only descriptors open for writing
    close(descriptor_);
    throw core::RunError(
        "{} belongs to another user, and this file system locks it only for who may write it: "
        "let the group write it (chmod g+w).",
        path.string());
  }
  // Some network file systems have no locks; the run then continues without one.
  if (error == EWOULDBLOCK) {
    close(descriptor_);
    throw core::UsageError("Another process is {} {}: wait for it, or choose another --run-dir.", work,
                           directory.path().string());
  }
}

Lock::~Lock() {
  close(descriptor_);
}

bool is_locked(const RunDirectory& directory) {
  const int descriptor = open_lock(directory.lock(), /*flags=*/0);
  if (descriptor < 0) return false;
  // Shared, so that two processes that ask at a time do not take each other for the owner.
  const bool locked = flock(descriptor, LOCK_SH | LOCK_NB) != 0 && errno == EWOULDBLOCK;
  close(descriptor);
  return locked;
}

}  // namespace ssgpt::run
