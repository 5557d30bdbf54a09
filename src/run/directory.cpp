#include "run/directory.h"

#include "core/error.h"
#include "core/system_message.h"

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <fcntl.h>
#include <string>
#include <string_view>
#include <sys/file.h>
#include <system_error>
#include <unistd.h>

#include <fmt/format.h>

namespace ssgpt::run {
namespace {

constexpr std::string_view kStepPrefix = "step-";
constexpr const char* kLockName = ".lock";

}  // namespace

std::filesystem::path RunDirectory::checkpoint(int64_t step) const {
  return checkpoints() / fmt::format("{}{:08}", kStepPrefix, step);
}

bool RunDirectory::holds_run() const {
  return std::filesystem::exists(record()) || std::filesystem::exists(metrics()) ||
         std::filesystem::exists(checkpoints());
}

std::vector<Checkpoint> RunDirectory::named_checkpoints() const {
  std::vector<Checkpoint> found;
  std::error_code error;
  for (std::filesystem::directory_iterator it(checkpoints(), error), end; !error && it != end;
       it.increment(error)) {
    const std::string name = it->path().filename().string();
    int64_t step = 0;
    const char* digits = name.data() + std::min(kStepPrefix.size(), name.size());
    std::from_chars(digits, name.data() + name.size(), step);
    // The name is made again from the number, so that "step-1-copy" and "step-1" are nobody's checkpoints.
    if (it->path().filename() == checkpoint(step).filename() && it->is_directory(error)) {
      found.push_back({.step = step, .directory = it->path()});
    }
  }
  if (error && error != std::errc::no_such_file_or_directory) {
    throw core::InputError("{}: cannot be listed: {}", checkpoints().string(), error.message());
  }
  std::sort(found.begin(), found.end(),
            [](const Checkpoint& a, const Checkpoint& b) { return a.step < b.step; });
  return found;
}

std::vector<Checkpoint> RunDirectory::complete_checkpoints() const {
  std::vector<Checkpoint> found = named_checkpoints();
  std::erase_if(found, [](const Checkpoint& one) {
    std::error_code ignored;
    return !std::filesystem::exists(one.directory / kManifestName, ignored);
  });
  return found;
}

Lock::Lock(const RunDirectory& directory, std::string_view work) {
  const std::filesystem::path path = directory.path() / kLockName;
  descriptor_ = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
  if (descriptor_ < 0) {
    throw core::RunError("{} cannot be opened for writing: {}.", path.string(), core::system_message(errno));
  }
  // Somebody who looks whether it is held (is_locked()) holds it for an instant.
  constexpr int kTries = 5;
  const auto is_held = [this] {
    return flock(descriptor_, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK;
  };
  bool held = is_held();
  for (int tries = 1; held && tries < kTries; ++tries) {
    usleep(20'000);
    held = is_held();
  }
  // Some network file systems have no locks; there the run goes on without one.
  if (held) {
    close(descriptor_);
    throw core::UsageError("Another process is {} {}: wait for it, or choose another --run-dir.", work,
                           directory.path().string());
  }
}

Lock::~Lock() {
  close(descriptor_);
}

bool is_locked(const RunDirectory& directory) {
  const int descriptor = open((directory.path() / kLockName).c_str(), O_RDWR | O_CLOEXEC);
  if (descriptor < 0) return false;
  const bool locked = flock(descriptor, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK;
  close(descriptor);
  return locked;
}

}  // namespace ssgpt::run
