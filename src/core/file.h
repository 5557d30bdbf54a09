// Reading and replacing files with every error checked. Sizes and offsets are 64-bit bytes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <limits>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace ssgpt::core {

// A file opened for positioned reads. Reads use pread, so one object serves several threads, and a file that
// shrank after it was opened is an InputError instead of a SIGBUS.
class InputFile {
 public:
  // Throws InputError where `path` is missing or not a regular file, ReadError where it cannot be opened.
  explicit InputFile(std::filesystem::path path);
  ~InputFile();
  InputFile(InputFile&& other) noexcept;
  InputFile& operator=(InputFile&& other) noexcept;
  InputFile(const InputFile&) = delete;
  InputFile& operator=(const InputFile&) = delete;

  const std::filesystem::path& path() const { return path_; }
  uint64_t size() const { return size_; }  // bytes, when it was opened

  // Fills `out` from byte `offset`. Throws InputError where the file ends first, ReadError where the read
  // fails.
  void read(uint64_t offset, std::span<std::byte> out) const;

  // Reads up to out.size() bytes from `offset`; returns how many there were (0 at the end of the file).
  // Throws ReadError.
  size_t read_some(uint64_t offset, std::span<std::byte> out) const;

 private:
  std::filesystem::path path_;
  int descriptor_ = -1;
  uint64_t size_ = 0;
};

// The whole file as text. Throws as InputFile does, and InputError where it is larger than max_bytes.
std::string read_text(const std::filesystem::path& path,
                      uint64_t max_bytes = std::numeric_limits<uint64_t>::max());

// Whether `name`, which stands in a file, names something inside a folder: relative, without "..", empty
// parts or NUL.
bool is_name_inside(std::string_view name);

// A file that appears under its name complete and synced, or not at all: it is written beside its final name,
// and commit() syncs and renames it. Without commit() the destructor removes what was written.
class AtomicFile {
 public:
  // Throws RunError where the folder is missing or not writable.
  explicit AtomicFile(std::filesystem::path path);
  ~AtomicFile();
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;

  // Appends (buffered). Throws RunError, a full disk for example.
  void write(std::span<const std::byte> bytes);
  void write(std::string_view text) { write(std::as_bytes(std::span(text))); }
  // Overwrites bytes that were written before: a header whose counts are known last.
  void write_at(uint64_t offset, std::span<const std::byte> bytes);
  uint64_t bytes_written() const { return bytes_written_; }

  void commit();

 private:
  void flush();

  std::filesystem::path path_;
  std::filesystem::path temporary_;
  int descriptor_ = -1;
  uint64_t bytes_written_ = 0;
  std::vector<std::byte> buffer_;
};

void write_text_atomically(const std::filesystem::path& path, std::string_view text);

// A directory that appears under its name complete or not at all; same contract as AtomicFile. The files in
// it are the caller's to write and sync (AtomicFile does); commit() syncs the directory, renames it and syncs
// its parent.
class AtomicDirectory {
 public:
  // Creates `path`'s parents and an empty temporary directory beside `path`. Throws RunError.
  explicit AtomicDirectory(std::filesystem::path path);
  ~AtomicDirectory();
  AtomicDirectory(const AtomicDirectory&) = delete;
  AtomicDirectory& operator=(const AtomicDirectory&) = delete;

  const std::filesystem::path& temporary() const { return temporary_; }
  void commit();

  // True for the names that unfinished AtomicFile and AtomicDirectory objects of a killed process leave
  // behind; with `final_name` for those of that file or directory alone.
  static bool is_temporary_name(std::string_view name);
  static bool is_temporary_name(std::string_view name, std::string_view final_name);

 private:
  std::filesystem::path path_;
  std::filesystem::path temporary_;
  bool committed_ = false;
};

// fsync of a directory, so that a rename in it survives a crash.
void sync_directory(const std::filesystem::path& path);

// mkdir -p, and a check that files can be created in it. Throws RunError that names the path and the reason.
void create_writable_directory(const std::filesystem::path& path);

// Whether something, a folder or an ordinary file stands under `path`, links followed; false where nothing
// does. Throws InputError where the path cannot name anything (links in a circle, too long a name), ReadError
// where the system does not say: nobody may take that for a missing file.
bool exists(const std::filesystem::path& path);
bool is_directory(const std::filesystem::path& path);
bool is_regular_file(const std::filesystem::path& path);

// What stands under `path` itself, a link for one; file_type::not_found where nothing does. Throws as
// exists() does.
std::filesystem::file_status link_status(const std::filesystem::path& path);

// What stands in a folder, in no order; nothing where it is missing. Throws InputError
// where it is no folder, ReadError where it cannot be listed.
std::vector<std::filesystem::path> list_directory(const std::filesystem::path& path);

// Deletes what the AtomicFile and AtomicDirectory objects of killed processes left in a folder, of the names
// for which `is_own` is true: the caller knows that no process is writing these. What cannot be deleted
// stays. Throws ReadError where the folder cannot be listed.
void remove_temporaries(const std::filesystem::path& directory,
                        const std::function<bool(std::string_view name)>& is_own);

// Opens a file, which is created where it is missing, for appending. A link is not followed and a FIFO not
// waited for: throws RunError for what is neither a file nor a device, and where it cannot be opened. Returns
// the descriptor, which is the caller's to close.
int open_for_appending(const std::filesystem::path& path);

// The files that `patterns` name, each path once. One that exists under the name as written is that file,
// whatever characters the name holds; any other is a shell pattern (* ? [..], \\ before a character that
// stands for itself) below those of its folders that exist as written, and what matches it is sorted. Throws
// InputError for one that names nothing, ReadError where a folder could not be read.
std::vector<std::filesystem::path> expand_globs(const std::vector<std::string>& patterns);

}  // namespace ssgpt::core
