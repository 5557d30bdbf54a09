// Prints results to stdout.
#pragma once

#include <string_view>

namespace ssgpt::cli {

// For people: makes quoted file contents printable (core/text.h).
void print_text(std::string_view text);

// For programs: unchanged.
void print_raw(std::string_view text);

}  // namespace ssgpt::cli
