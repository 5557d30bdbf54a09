// Formats an exception for the user: on the terminal, and for the other ranks to quote.
#pragma once

#include "core/error.h"

#include <exception>
#include <string>
#include <string_view>

namespace ssgpt::parallel {

// Returns one paragraph: a core::Error's own message, the file of a failed system call, or what to do when
// memory ran out; anything else is reported as an internal error, without LibTorch's backtrace.
std::string error_text(const std::exception& error);

// Returns the program's exit code for an exception: a core::Error's own; kBadInput for a path that cannot
// name anything (circular links, a name that is too long); else kFailed.
core::ExitCode exit_code(const std::exception& error);

// End of an error message about an entry of the ranks' store that no rank writes.
inline constexpr std::string_view kStrangerInStore =
    "does another program reach the store (MASTER_ADDR:MASTER_PORT)?";

// First line of a c10d message; a stack trace follows it.
std::string first_line(const std::string& text);

}  // namespace ssgpt::parallel
