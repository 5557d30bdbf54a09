#include "core/file.h"

#include "core/error.h"
#include "core/system_message.h"

#include <algorithm>
#include <cerrno>
#include <fcntl.h>
#include <glob.h>
#include <sys/stat.h>
#include <system_error>
#include <unistd.h>
#include <unordered_set>
#include <utility>

#include <fmt/format.h>

namespace ssgpt::core {
namespace {

// Whether a call failed for what stands under the path, rather than for the machine's or the process's sake.
bool is_about_the_path(int error) {
  return error == ENOENT || error == ENOTDIR || error == ELOOP || error == ENAMETOOLONG || error == EISDIR ||
         error == ENXIO || error == ENODEV;
}

// `what` failed: "cannot be opened for reading".
ReadError read_error(const std::filesystem::path& path, std::string_view what, int error) {
  const bool forbidden = error == EACCES || error == EPERM;
  return ReadError(forbidden ? ExitCode::kBadInput : ExitCode::kFailed,
                   fmt::format("{}: {}: {}", path.string(), what, system_message(error)));
}

// By glob(): the error of the folder that it could not read, where that is not the folder's fault.
thread_local int glob_error = 0;

int stop_at_failure(const char* /*folder*/, int error) {
  if (is_about_the_path(error) || error == EACCES) return 0;
  glob_error = error;
  return 1;
}

}  // namespace

InputFile::InputFile(std::filesystem::path path) : path_(std::move(path)) {
  // O_NONBLOCK: opening a FIFO would wait for a writer before it could be refused.
  descriptor_ = ::open(path_.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (descriptor_ < 0) {
    if (errno == ENOENT) {
      throw InputError("{}: no such file", path_.string());
    }
    constexpr std::string_view kWhat = "cannot be opened for reading";
    if (!is_about_the_path(errno)) throw read_error(path_, kWhat, errno);
    throw InputError("{}: {}: {}", path_.string(), kWhat, system_message(errno));
  }
  struct stat status {};
  std::string fault;
  if (::fstat(descriptor_, &status) != 0) {
    const int error = errno;
    ::close(descriptor_);
    throw read_error(path_, "cannot be read", error);
  }
  if (S_ISDIR(status.st_mode)) {
    fault = "a directory where a file is expected";
  } else if (!S_ISREG(status.st_mode)) {
    fault = "not a regular file";
  }
  if (!fault.empty()) {
    ::close(descriptor_);
    throw InputError("{}: {}", path_.string(), fault);
  }
  size_ = static_cast<uint64_t>(status.st_size);
}

InputFile::~InputFile() {
  if (descriptor_ >= 0) {
    ::close(descriptor_);
  }
}

InputFile::InputFile(InputFile&& other) noexcept
    : path_(std::move(other.path_)), descriptor_(std::exchange(other.descriptor_, -1)), size_(other.size_) {}

InputFile& InputFile::operator=(InputFile&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(descriptor_, other.descriptor_);
  std::swap(size_, other.size_);
  return *this;
}

size_t InputFile::read_some(uint64_t offset, std::span<std::byte> out) const {
  size_t done = 0;
  while (done < out.size()) {
    const ssize_t count =
        ::pread(descriptor_, out.data() + done, out.size() - done, static_cast<off_t>(offset + done));
    if (count == 0) {
      break;
    }
    if (count < 0) {
      if (errno == EINTR) {
        continue;
      }
      const int error = errno;
      throw read_error(path_, fmt::format("reading {} bytes at byte {} failed", out.size(), offset), error);
    }
    done += static_cast<size_t>(count);
  }
  return done;
}

void InputFile::read(uint64_t offset, std::span<std::byte> out) const {
  if (const size_t count = read_some(offset, out); count != out.size()) {
    throw InputError("{}: ends at byte {}, but {} bytes are expected at byte {}: the file is truncated{}",
                     path_.string(), offset + count, out.size(), offset,
                     offset + out.size() <= size_ ? " (it became shorter after it was opened)" : "");
  }
}

std::string read_text(const std::filesystem::path& path) {
  const InputFile file(path);
  std::string text;
  size_t step = std::max<size_t>(file.size() + 1, 4096);  // + 1: one read sees the end as well
  while (true) {
    const size_t before = text.size();
    text.resize(before + step);
    const size_t count = file.read_some(before, std::as_writable_bytes(std::span(text).subspan(before)));
    text.resize(before + count);
    if (count < step) {
      return text;
    }
    step = text.size();
  }
}

void sync_directory(const std::filesystem::path& path) {
  const int descriptor = ::open(path.empty() ? "." : path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (descriptor < 0) {
    throw RunError("{}: the folder cannot be opened to sync it: {}", path.string(), system_message(errno));
  }
  const int failure = ::fsync(descriptor) == 0 ? 0 : errno;
  ::close(descriptor);
  if (failure != 0 && failure != EINVAL) {  // EINVAL: a file system that has no such call for folders
    throw RunError("{}: syncing the folder failed: {}", path.string(), system_message(failure));
  }
}

std::vector<std::filesystem::path> list_directory(const std::filesystem::path& path) {
  std::vector<std::filesystem::path> entries;
  std::error_code error;
  for (std::filesystem::directory_iterator it(path, error), end; !error && it != end; it.increment(error)) {
    entries.push_back(it->path());
  }
  if (!error || !std::filesystem::exists(path)) return entries;
  constexpr std::string_view kWhat = "the folder cannot be listed";
  if (!is_about_the_path(error.value())) throw read_error(path, kWhat, error.value());
  throw InputError("{}: {}: {}", path.string(), kWhat, system_message(error.value()));
}

int open_for_appending(const std::filesystem::path& path) {
  // O_NONBLOCK: opening a FIFO would wait for a reader before it could be refused.
  const int descriptor =
      ::open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0666);
  const int error = errno;
  struct stat status {};
  const bool opened = descriptor >= 0 && ::fstat(descriptor, &status) == 0;
  if (opened && (S_ISREG(status.st_mode) || S_ISCHR(status.st_mode))) return descriptor;
  if (descriptor >= 0) ::close(descriptor);
  const bool is_link = descriptor < 0 && error == ELOOP;
  if (is_link || opened || error == ENXIO) {  // ENXIO: a FIFO that nobody reads, or a socket
    throw RunError("{}: {}, where a file of its own is written: move it away", path.string(),
                   is_link ? "a symbolic link" : "not a regular file");
  }
  throw RunError("{}: cannot be opened for appending: {}", path.string(), system_message(error));
}

std::vector<std::filesystem::path> expand_globs(const std::vector<std::string>& patterns) {
  std::vector<std::filesystem::path> paths;
  std::unordered_set<std::string> seen;
  for (const std::string& pattern : patterns) {
    glob_t result{};
    const int status = ::glob(pattern.c_str(), GLOB_NOSORT, stop_at_failure, &result);
    std::vector<std::string> matches(result.gl_pathv, result.gl_pathv + result.gl_pathc);
    ::globfree(&result);
    if (status == GLOB_NOMATCH || (status == 0 && matches.empty())) {
      throw InputError(
          "{}: no such file{}", pattern,
          pattern.find_first_of("*?[") == std::string::npos ? "" : " (nothing matches the pattern)");
    }
    if (status != 0) {
      throw read_error(pattern, "the files that match it cannot be listed",
                       status == GLOB_ABORTED ? glob_error : ENOMEM);
    }
    std::sort(matches.begin(), matches.end());
    for (const std::string& match : matches) {
      std::filesystem::path path(match);
      if (seen.insert(path.lexically_normal().string()).second) {
        paths.push_back(std::move(path));
      }
    }
  }
  return paths;
}

}  // namespace ssgpt::core
