// Validates lists of numbers from the command line.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

namespace ssgpt::evaluation {

// Throws core::UsageError that names the option and the value for an empty list, for a number outside `least`
// to `most`, and for a number that is not above the previous one.
void check_rising(std::string_view option, const std::vector<int64_t>& values, int64_t least, int64_t most);

}  // namespace ssgpt::evaluation
