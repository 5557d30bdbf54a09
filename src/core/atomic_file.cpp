#include "core/check.h"
#include "core/error.h"
#include "core/file.h"
#include "core/system_message.h"

#include <atomic>
#include <cerrno>
#include <fcntl.h>
#include <system_error>
#include <unistd.h>
#include <utility>

#include <fmt/format.h>

namespace ssgpt::core {

namespace {

constexpr size_t kBufferBytes = size_t{1} << 20;
constexpr std::string_view kTemporaryMark = ".tmp-";
constexpr std::string_view kProbeName = "write-test";  // the file that create_writable_directory() tries

std::filesystem::path parent_of(const std::filesystem::path& path) {
  const std::filesystem::path parent = path.parent_path();
  return parent.empty() ? std::filesystem::path(".") : parent;
}

// ".NAME.tmp-PID-N" beside `path`: hidden from globs over the final names, and unique among running
// processes.
std::filesystem::path temporary_beside(const std::filesystem::path& path) {
  static std::atomic<uint64_t> counter{0};
  return parent_of(path) / fmt::format(".{}{}{}-{}", path.filename().string(), kTemporaryMark, ::getpid(),
                                       counter.fetch_add(1));
}

void write_fully(int descriptor, uint64_t offset, std::span<const std::byte> bytes,
                 const std::filesystem::path& path) {
  while (!bytes.empty()) {
    const ssize_t count = ::pwrite(descriptor, bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (count < 0) {
      if (errno == EINTR) {
        continue;
      }
      throw RunError("{}: writing failed: {}", path.string(), system_message(errno));
    }
    bytes = bytes.subspan(static_cast<size_t>(count));
    offset += static_cast<uint64_t>(count);
  }
}

}  // namespace

AtomicFile::AtomicFile(std::filesystem::path path)
    : path_(std::move(path)), temporary_(temporary_beside(path_)) {
  std::error_code error;
  if (std::filesystem::is_directory(path_, error)) {
    throw RunError("{}: cannot be written: it is a folder", path_.string());
  }
  // O_TRUNC, not O_EXCL: a killed process with the same PID may have left a file of this name.
  descriptor_ = ::open(temporary_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
  if (descriptor_ < 0) {
    throw RunError("{}: cannot be created: {}", path_.string(), system_message(errno));
  }
}

AtomicFile::~AtomicFile() {
  if (descriptor_ >= 0) {
    ::close(descriptor_);
    ::unlink(temporary_.c_str());
  }
}

void AtomicFile::write(std::span<const std::byte> bytes) {
  SSGPT_CHECK(descriptor_ >= 0, "write to {} after its commit", path_.string());
  if (buffer_.size() + bytes.size() > kBufferBytes) {
    flush();
  }
  if (bytes.size() >= kBufferBytes) {
    write_fully(descriptor_, bytes_written_, bytes, path_);
  } else {
    buffer_.insert(buffer_.end(), bytes.begin(), bytes.end());
  }
  bytes_written_ += bytes.size();
}

void AtomicFile::write_at(uint64_t offset, std::span<const std::byte> bytes) {
  SSGPT_CHECK(descriptor_ >= 0, "write to {} after its commit", path_.string());
  SSGPT_CHECK(offset + bytes.size() <= bytes_written_, "write_at {} + {} beyond the {} bytes of {}", offset,
              bytes.size(), bytes_written_, path_.string());
  flush();
  write_fully(descriptor_, offset, bytes, path_);
}

void AtomicFile::flush() {
  write_fully(descriptor_, bytes_written_ - buffer_.size(), buffer_, path_);
  buffer_.clear();
}

void AtomicFile::commit() {
  SSGPT_CHECK(descriptor_ >= 0, "second commit of {}", path_.string());
  flush();
  if (::fsync(descriptor_) != 0) {
    throw RunError("{}: writing failed: {}", path_.string(), system_message(errno));
  }
  if (::rename(temporary_.c_str(), path_.c_str()) != 0) {
    throw RunError("{}: cannot be replaced: {}", path_.string(), system_message(errno));
  }
  ::close(std::exchange(descriptor_, -1));
  sync_directory(parent_of(path_));
}

void write_text_atomically(const std::filesystem::path& path, std::string_view text) {
  AtomicFile file(path);
  file.write(text);
  file.commit();
}

AtomicDirectory::AtomicDirectory(std::filesystem::path path) : path_(std::move(path)) {
  if (!path_.has_filename()) {  // "runs/a/": the same as "runs/a"
    path_ = path_.parent_path();
  }
  temporary_ = temporary_beside(path_);
  std::error_code error;
  std::filesystem::create_directories(parent_of(path_), error);
  if (!error) {
    std::filesystem::remove_all(temporary_, error);  // left by a killed process that had the same PID
    std::filesystem::create_directory(temporary_, error);
  }
  if (error) {
    throw RunError("{}: the folder cannot be created: {}", path_.string(), error.message());
  }
}

AtomicDirectory::~AtomicDirectory() {
  if (!committed_) {
    std::error_code ignored;
    std::filesystem::remove_all(temporary_, ignored);
  }
}

void AtomicDirectory::commit() {
  SSGPT_CHECK(!committed_, "second commit of {}", path_.string());
  sync_directory(temporary_);
  if (::rename(temporary_.c_str(), path_.c_str()) != 0) {
    throw RunError("{}: the complete folder cannot be given its name: {}", path_.string(),
                   system_message(errno));
  }
  committed_ = true;
  sync_directory(parent_of(path_));
}

void create_writable_directory(const std::filesystem::path& path) {
  std::error_code error;
  std::filesystem::create_directories(path, error);
  if (std::error_code ignored; error && !std::filesystem::is_directory(path, ignored)) {
    throw RunError("{}: the folder cannot be created: {}", path.string(), system_message(error.value()));
  }
  const std::filesystem::path probe = temporary_beside(path / kProbeName);
  const int descriptor = ::open(probe.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0666);
  if (descriptor < 0) {
    throw RunError("{}: no file can be created in this folder: {}", path.string(), system_message(errno));
  }
  ::close(descriptor);
  ::unlink(probe.c_str());
}

namespace {

// The final name of the file or directory that has this temporary name.
std::string_view final_name_of(std::string_view temporary) {
  return temporary.substr(1, temporary.rfind(kTemporaryMark) - 1);
}

}  // namespace

void remove_temporaries(const std::filesystem::path& directory,
                        const std::function<bool(std::string_view name)>& is_own) {
  for (const std::filesystem::path& entry : list_directory(directory)) {
    const std::string temporary = entry.filename().string();
    if (!AtomicDirectory::is_temporary_name(temporary)) continue;
    const std::string_view name = final_name_of(temporary);
    std::error_code ignored;
    if (name == kProbeName || is_own(name)) std::filesystem::remove_all(entry, ignored);
  }
}

bool AtomicDirectory::is_temporary_name(std::string_view name) {
  const size_t mark = name.rfind(kTemporaryMark);
  if (!name.starts_with('.') || mark == std::string_view::npos || mark < 2) {
    return false;
  }
  const std::string_view numbers = name.substr(mark + kTemporaryMark.size());
  const size_t dash = numbers.find('-');
  const auto is_number = [](std::string_view text) {
    return !text.empty() && text.find_first_not_of("0123456789") == std::string_view::npos;
  };
  return dash != std::string_view::npos && is_number(numbers.substr(0, dash)) &&
         is_number(numbers.substr(dash + 1));
}

bool AtomicDirectory::is_temporary_name(std::string_view name, std::string_view final_name) {
  return is_temporary_name(name) && final_name_of(name) == final_name;
}

}  // namespace ssgpt::core
