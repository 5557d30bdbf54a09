// Results on stdout.
#pragma once

#include <string_view>

namespace ssgpt::cli {

// For people: what the text quotes of files is made printable (core/text.h).
void print_text(std::string_view text);

// For programs: as it is.
void print_raw(std::string_view text);

}  // namespace ssgpt::cli
