// Reads and replaces files with every error checked. Sizes and offsets are in bytes, 64-bit.
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
  uint64_t size() const { return size_; }  // bytes, at the time of opening

  // Fills `out` from byte `offset`. Throws InputError where the file ends first, ReadError where the read
  // fails.
  void read(uint64_t offset, std::span<std::byte> out) const;

  // Reads up to out.size() bytes from `offset`; returns the number of bytes read (0 at the end of the file).
  // Throws ReadError.
  size_t read_some(uint64_t offset, std::span<std::byte> out) const;

 private:
  std::filesystem::path path_;
  int descriptor_ = -1;
  uint64_t size_ = 0;
};

// Returns the whole file as text. Throws as InputFile does, and InputError where it is larger than max_bytes.
std::string read_text(const std::filesystem::path& path,
                      uint64_t max_bytes = std::numeric_limits<uint64_t>::max());

// Whether `name`, read from a file, stays inside a folder: relative, without "..", empty parts or NUL.
bool is_name_inside(std::string_view name);

// A file that appears under its name complete and synced, or not at all: it is written under a temporary name
// beside the final one, and commit() syncs and renames it. Without commit() the destructor removes it.
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
  // Overwrites bytes already written, such as a header whose counts are known only at the end.
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

// A directory that appears under its name complete or not at all; same contract as AtomicFile. The caller
// writes and syncs the files in it (AtomicFile does); commit() syncs the directory, renames it and syncs its
// parent.
class AtomicDirectory {
 public:
  // Creates `path`'s parents and an empty temporary directory beside `path`. Throws RunError.
  explicit AtomicDirectory(std::filesystem::path path);
  ~AtomicDirectory();
  AtomicDirectory(const AtomicDirectory&) = delete;
  AtomicDirectory& operator=(const AtomicDirectory&) = delete;

  const std::filesystem::path& temporary() const { return temporary_; }
  void commit();

  // Whether `name` is a leftover of an unfinished AtomicFile or AtomicDirectory of a killed process; with
  // `final_name`, a leftover of that file or directory only.
  static bool is_temporary_name(std::string_view name);
  static bool is_temporary_name(std::string_view name, std::string_view final_name);

 private:
  std::filesystem::path path_;
  std::filesystem::path temporary_;
  bool committed_ = false;
};

// Calls fsync on a directory, so that a rename in it survives a crash.
void sync_directory(const std::filesystem::path& path);

// mkdir -p, plus a check that files can be created there. Throws RunError with the path and the reason.
void create_writable_directory(const std::filesystem::path& path);

// Whether `path` names anything, a directory, or a regular file, following links; false where nothing is
// there. Throws InputError where the path cannot name anything (a link cycle, a name too long), ReadError
// where the system cannot tell: callers must not treat that as a missing file.
bool exists(const std::filesystem::path& path);
bool is_directory(const std::filesystem::path& path);
bool is_regular_file(const std::filesystem::path& path);

// Status of `path` itself, without following a link; file_type::not_found where nothing is there. Throws as
// exists() does.
std::filesystem::file_status link_status(const std::filesystem::path& path);

// The entries of a folder, in no particular order; empty where it is missing. Throws InputError where it is
// not a folder, ReadError where it cannot be listed.
std::vector<std::filesystem::path> list_directory(const std::filesystem::path& path);

// Deletes the leftovers of AtomicFile and AtomicDirectory objects of killed processes in a folder, for final
// names where `is_own` is true: the caller knows that no process is writing those. Entries that cannot be
// deleted stay. Throws ReadError where the folder cannot be listed.
void remove_temporaries(const std::filesystem::path& directory,
                        const std::function<bool(std::string_view name)>& is_own);

// Opens a file for appending, creating it if missing. Follows no link and does not wait for a FIFO: throws
// RunError for anything that is neither a regular file nor a character device, or cannot be opened. Returns
// the descriptor, which the caller closes.
int open_for_appending(const std::filesystem::path& path);

// The files that `patterns` name, each path once. A pattern that exists literally is that file, whatever
// characters its name contains; any other is a shell pattern (* ? [..], \\ escapes a character), matched
// below those of its folders that exist literally, with sorted matches. Throws InputError for a pattern that
// names nothing, ReadError where a folder could not be read.
std::vector<std::filesystem::path> expand_globs(const std::vector<std::string>& patterns);

}  // namespace ssgpt::core
