// Logging to stderr and, once a run directory exists, to its log.txt. log.cpp is the only file that includes
// spdlog. All functions may be called from any thread.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string_view>

#include <fmt/format.h>

namespace ssgpt::core::log {

enum class Level { kDebug, kInfo, kWarning, kError, kOff };

// Messages below `level` are dropped from stderr.
void set_level(Level level);

// For one of several ranks: on ranks other than 0, messages begin with the rank, and only errors reach
// stderr.
void set_rank(int64_t rank);

// Also appends all later messages to `path` (created if missing): kInfo and above, on ranks other than 0
// kWarning and above. Throws as open_for_appending() does.
void add_file(const std::filesystem::path& path);

// Throws RunError, once, where a message since the last call could not be written to the log file (a full
// disk). The logging functions themselves never throw, since they are called where exceptions are not
// allowed.
void require_written();

// Flushes buffered messages and closes the log file.
void shutdown();

void write(Level level, std::string_view message);

// Writes at level kInfo to the log file only, if there is one.
void write_to_file(std::string_view message);

template <typename... Args>
void debug(fmt::format_string<Args...> format, Args&&... args) {
  write(Level::kDebug, fmt::format(format, std::forward<Args>(args)...));
}
template <typename... Args>
void info(fmt::format_string<Args...> format, Args&&... args) {
  write(Level::kInfo, fmt::format(format, std::forward<Args>(args)...));
}
template <typename... Args>
void warning(fmt::format_string<Args...> format, Args&&... args) {
  write(Level::kWarning, fmt::format(format, std::forward<Args>(args)...));
}
template <typename... Args>
void error(fmt::format_string<Args...> format, Args&&... args) {
  write(Level::kError, fmt::format(format, std::forward<Args>(args)...));
}

}  // namespace ssgpt::core::log
