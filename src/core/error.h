// Exceptions that a user can cause, each with the exit code that the program ends with. Programming errors
// are in core/check.h.
#pragma once

#include <stdexcept>
#include <string>

#include <fmt/format.h>

namespace ssgpt::core {

enum class ExitCode : int { kDone = 0, kFailed = 1, kUsage = 2, kBadInput = 3 };

// Base of all errors that are reported as one clear paragraph, without a stack trace or a source location. A
// message may quote file contents: they are made printable, and cut where longer than any paragraph
// (core/text.h).
class Error : public std::runtime_error {
 public:
  Error(ExitCode code, const std::string& message);
  ExitCode code() const noexcept { return code_; }

 private:
  ExitCode code_;
};

// A valid request failed while it was being carried out: a full disk, a non-finite loss (exit code 1).
class RunError : public Error {
 public:
  template <typename... Args>
  explicit RunError(fmt::format_string<Args...> format, Args&&... args)
      : Error(ExitCode::kFailed, fmt::format(format, std::forward<Args>(args)...)) {}
};

// A system call failed while a file was looked up or read: the disk, the network, a limit of the process. It
// says nothing about the file's contents, so callers must not treat the file as missing or damaged. Exit code
// 1, or 3 where this user lacks permission to read the file.
class ReadError : public Error {
 public:
  ReadError(ExitCode code, const std::string& message) : Error(code, message) {}
};

// Wrong command line, config or combination of both (exit code 2).
class UsageError : public Error {
 public:
  template <typename... Args>
  explicit UsageError(fmt::format_string<Args...> format, Args&&... args)
      : Error(ExitCode::kUsage, fmt::format(format, std::forward<Args>(args)...)) {}
};

// A missing, truncated, corrupt or foreign file (exit code 3).
class InputError : public Error {
 public:
  template <typename... Args>
  explicit InputError(fmt::format_string<Args...> format, Args&&... args)
      : Error(ExitCode::kBadInput, fmt::format(format, std::forward<Args>(args)...)) {}
};

}  // namespace ssgpt::core
