#include "core/file.h"

#include "core/error.h"
#include "core/system_message.h"
#include "core/text.h"

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <fcntl.h>
#include <glob.h>
#include <sys/stat.h>
#include <system_error>
#include <unistd.h>
#include <unordered_set>
#include <utility>

namespace ssgpt::core {

InputFile::InputFile(std::filesystem::path path) : path_(std::move(path)) {
  // O_NONBLOCK: opening a FIFO would wait for a writer before it could be refused.
  descriptor_ = ::open(path_.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (descriptor_ < 0) {
    if (errno == ENOENT) {
      throw InputError("{}: no such file", path_.string());
    }
    throw InputError("{}: cannot be opened for reading: {}", path_.string(), system_message(errno));
  }
  struct stat status {};
  std::string fault;
  if (::fstat(descriptor_, &status) != 0) {
    fault = system_message(errno);
  } else if (S_ISDIR(status.st_mode)) {
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
      throw InputError("{}: reading {} bytes at byte {} failed: {}", path_.string(), out.size(), offset,
                       system_message(errno));
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

void create_writable_directory(const std::filesystem::path& path) {
  std::error_code error;
  std::filesystem::create_directories(path, error);
  if (error && !std::filesystem::is_directory(path)) {
    throw RunError("{}: the folder cannot be created: {}", path.string(), error.message());
  }
  std::string probe = (path / ".write-test-XXXXXX").string();
  const int descriptor = ::mkostemp(probe.data(), O_CLOEXEC);
  if (descriptor < 0) {
    throw RunError("{}: no file can be created in this folder: {}", path.string(), system_message(errno));
  }
  ::close(descriptor);
  ::unlink(probe.c_str());
}

namespace {

bool is_present(const std::string& path) {
  std::error_code error;  // a path that cannot be looked at is reported when it is opened
  return std::filesystem::exists(std::filesystem::symlink_status(path, error));
}

bool has_wildcard(std::string_view text) {
  return text.find_first_of("*?[") != std::string_view::npos;
}

// The same text as a pattern that matches itself alone.
std::string escaped(std::string_view text) {
  std::string pattern;
  for (const char character : text) {
    if (character == '*' || character == '?' || character == '[' || character == '\\') pattern += '\\';
    pattern += character;
  }
  return pattern;
}

// How much of `pattern` names folders that are there, its last '/' included; the rest may match something in
// them.
size_t literal_length(std::string_view pattern) {
  for (size_t slash = pattern.rfind('/'); slash != std::string_view::npos && slash > 0;
       slash = pattern.rfind('/', slash - 1)) {
    if (is_present(std::string(pattern.substr(0, slash)))) return slash + 1;
  }
  return 0;
}

// Sorted. Throws InputError where they cannot be listed; `as_typed` stands in its message.
std::vector<std::string> matches_of(const std::string& pattern, const std::string& as_typed) {
  glob_t result{};
  const int status = ::glob(pattern.c_str(), GLOB_NOSORT, nullptr, &result);
  const int reason = errno;
  std::vector<std::string> matches(result.gl_pathv, result.gl_pathv + result.gl_pathc);
  ::globfree(&result);
  if (status != 0 && status != GLOB_NOMATCH) {
    throw InputError("{}: the files that match it cannot be listed: {}", as_typed, system_message(reason));
  }
  std::sort(matches.begin(), matches.end());
  return matches;
}

// What one name or pattern stands for; never empty.
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
