#include "core/file.h"

#include "core/error.h"
#include "core/system_message.h"
#include "core/text.h"

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

// Whether a call failed because of what the path names, rather than because of the machine or the process.
bool is_about_the_path(int error) {
  return error == ENOENT || error == ENOTDIR || error == ELOOP || error == ENAMETOOLONG || error == EISDIR ||
         error == ENXIO || error == ENODEV;
}

// `what` describes the failed call: "cannot be opened for reading".
ReadError read_error(const std::filesystem::path& path, std::string_view what, int error) {
  const bool forbidden = error == EACCES || error == EPERM;
  return ReadError(forbidden ? ExitCode::kBadInput : ExitCode::kFailed,
                   fmt::format("{}: {}: {}", path.string(), what, system_message(error)));
}

// Returns `status`, a result of std::filesystem with its `error`, or throws where the status is unknown.
std::filesystem::file_status known_status(const std::filesystem::path& path,
                                          std::filesystem::file_status status, const std::error_code& error) {
  if (!error || status.type() == std::filesystem::file_type::not_found) return status;
  constexpr std::string_view kWhat = "cannot be looked for";
  if (!is_about_the_path(error.value())) throw read_error(path, kWhat, error.value());
  throw InputError("{}: {}: {}", path.string(), kWhat, system_message(error.value()));
}

std::filesystem::file_status status_of(const std::filesystem::path& path) {
  std::error_code error;
  const std::filesystem::file_status status = std::filesystem::status(path, error);
  return known_status(path, status, error);
}

// Set during glob(): the error for a folder that it could not read, unless the error is about the path
// itself.
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

std::string read_text(const std::filesystem::path& path, uint64_t max_bytes) {
  const InputFile file(path);
  const auto refuse_above = [&](uint64_t size) {
    if (size <= max_bytes) return;
    throw InputError("{}: larger than {}, which no file of its kind is: it is damaged or something else",
                     path.string(), human_bytes(max_bytes));
  };
  refuse_above(file.size());
  std::string text;
  size_t step = std::max<size_t>(file.size() + 1, 4096);  // + 1: one read sees the end as well
  while (true) {
    const size_t before = text.size();
    text.resize(before + step);
    const size_t count = file.read_some(before, std::as_writable_bytes(std::span(text).subspan(before)));
    text.resize(before + count);
    refuse_above(text.size());
    if (count < step) {
      return text;
    }
    step = text.size();
  }
}

bool is_name_inside(std::string_view name) {
  if (name.find('\0') != std::string_view::npos) return false;
  while (true) {
    const size_t slash = name.find('/');
    const std::string_view part = name.substr(0, slash);
    if (part.empty() || part == "." || part == "..") return false;
    if (slash == std::string_view::npos) return true;
    name.remove_prefix(slash + 1);
  }
}

bool exists(const std::filesystem::path& path) {
  return std::filesystem::exists(status_of(path));
}

bool is_directory(const std::filesystem::path& path) {
  return std::filesystem::is_directory(status_of(path));
}

bool is_regular_file(const std::filesystem::path& path) {
  return std::filesystem::is_regular_file(status_of(path));
}

std::filesystem::file_status link_status(const std::filesystem::path& path) {
  std::error_code error;
  const std::filesystem::file_status status = std::filesystem::symlink_status(path, error);
  return known_status(path, status, error);
}

void sync_directory(const std::filesystem::path& path) {
  const int descriptor = ::open(path.empty() ? "." : path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (descriptor < 0) {
    throw RunError("{}: the folder cannot be opened to sync it: {}", path.string(), system_message(errno));
  }
  const int failure = ::fsync(descriptor) == 0 ? 0 : errno;
  ::close(descriptor);
  if (failure != 0 && failure != EINVAL) {  // EINVAL: this file system cannot sync folders
    throw RunError("{}: syncing the folder failed: {}", path.string(), system_message(failure));
  }
}

std::vector<std::filesystem::path> list_directory(const std::filesystem::path& path) {
  std::vector<std::filesystem::path> entries;
  std::error_code error;
  for (std::filesystem::directory_iterator it(path, error), end; !error && it != end; it.increment(error)) {
    entries.push_back(it->path());
  }
  if (!error || !core::exists(path)) return entries;
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
  if (is_link || opened || error == ENXIO) {  // ENXIO: a FIFO without a reader, or a socket
    throw RunError("{}: {}, where a file of its own is written: move it away", path.string(),
                   is_link ? "a symbolic link" : "not a regular file");
  }
  throw RunError("{}: cannot be opened for appending: {}", path.string(), system_message(error));
}

namespace {

// A file in a folder without search permission counts as present; opening it reports the error.
bool is_present(const std::string& path) {
  struct stat status {};
  if (::lstat(path.c_str(), &status) == 0 || errno == EACCES) return true;
  if (!is_about_the_path(errno)) throw read_error(path, "cannot be looked for", errno);
  return false;
}

bool has_wildcard(std::string_view text) {
  return text.find_first_of("*?[") != std::string_view::npos;
}

// Returns a glob pattern that matches exactly `text`.
std::string escaped(std::string_view text) {
  std::string pattern;
  for (const char character : text) {
    if (character == '*' || character == '?' || character == '[' || character == '\\') pattern += '\\';
    pattern += character;
  }
  return pattern;
}

// Length of the longest prefix of `pattern` that names existing folders, including the final '/'; the rest
// may match something in them.
size_t literal_length(std::string_view pattern) {
  for (size_t slash = pattern.rfind('/'); slash != std::string_view::npos && slash > 0;
       slash = pattern.rfind('/', slash - 1)) {
    if (is_present(std::string(pattern.substr(0, slash)))) return slash + 1;
  }
  return 0;
}

// Sorted. Throws ReadError where the matches cannot be listed; the message quotes `as_typed`.
std::vector<std::string> matches_of(const std::string& pattern, const std::string& as_typed) {
  glob_t result{};
  const int status = ::glob(pattern.c_str(), GLOB_NOSORT, stop_at_failure, &result);
  std::vector<std::string> matches(result.gl_pathv, result.gl_pathv + result.gl_pathc);
  ::globfree(&result);
  if (status != 0 && status != GLOB_NOMATCH) {
    throw read_error(as_typed, "the files that match it cannot be listed",
                     status == GLOB_ABORTED ? glob_error : ENOMEM);
  }
  std::sort(matches.begin(), matches.end());
  return matches;
}

// The files that one name or pattern stands for; never empty.
std::vector<std::string> expand_glob(const std::string& pattern) {
  if (is_present(pattern)) return {pattern};
  std::vector<std::string> matches;
  if (has_wildcard(pattern)) {
    const size_t literal = literal_length(pattern);
    matches = matches_of(escaped(pattern.substr(0, literal)) + pattern.substr(literal), pattern);
    if (matches.empty() && has_wildcard(pattern.substr(0, literal))) matches = matches_of(pattern, pattern);
  }
  if (matches.empty()) {
    throw InputError("{}: no such file{}", pattern,
                     has_wildcard(pattern) ? ", and nothing matches it as a pattern" : "");
  }
  return matches;
}

}  // namespace

std::vector<std::filesystem::path> expand_globs(const std::vector<std::string>& patterns) {
  std::vector<std::filesystem::path> paths;
  std::unordered_set<std::string> seen;
  for (const std::string& pattern : patterns) {
    for (const std::string& match : expand_glob(pattern)) {
      std::filesystem::path path(match);
      if (seen.insert(path.lexically_normal().string()).second) {
        paths.push_back(std::move(path));
      }
    }
  }
  return paths;
}

}  // namespace ssgpt::core
