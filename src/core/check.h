// Checks of what the program itself must guarantee. Always on, also in optimised builds.
#pragma once

#include <source_location>
#include <stdexcept>
#include <string>

#include <fmt/format.h>

namespace ssgpt::core {

// A bug in the program. The message names the failed condition and its source location.
class InternalError : public std::logic_error {
 public:
  using std::logic_error::logic_error;
};

[[noreturn]] void fail_check(const char* condition, const std::string& message,
                             const std::source_location& where);

}  // namespace ssgpt::core

// SSGPT_CHECK(condition, "format", args...): throws InternalError unless the condition holds.
#define SSGPT_CHECK(condition, ...)                                                                     \
  do {                                                                                                  \
    if (!(condition)) [[unlikely]] {                                                                    \
      ::ssgpt::core::fail_check(#condition, fmt::format(__VA_ARGS__), std::source_location::current()); \
    }                                                                                                   \
  } while (false)
