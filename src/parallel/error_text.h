// What people read of an error: on the terminal, and of a rank's in the words of another.
#pragma once

#include "core/error.h"

#include <exception>
#include <string>
#include <string_view>

namespace ssgpt::parallel {

// One paragraph: a core::Error's own words, the file of a failed system call, what to do where the memory did
// not suffice; of whatever nobody should see its words without LibTorch's backtrace, as an internal error.
std::string error_text(const std::exception& error);

// What the program ends with: a core::Error's own code; kBadInput for a path that cannot name
// anything: links in a circle, too long a name; else kFailed.
core::ExitCode exit_code(const std::exception& error);

// The end of a message about something in the ranks' store that no rank writes.
inline constexpr std::string_view kStrangerInStore =
    "does another program reach the store (MASTER_ADDR:MASTER_PORT)?";

// Of an engine's message: what follows is its stack.
std::string first_line(const std::string& text);

}  // namespace ssgpt::parallel
