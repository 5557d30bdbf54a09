// Lists of numbers on the command line.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

namespace ssgpt::evaluation {

// Throws core::UsageError, which names the option and the value, for a list without a number, for one that is
// not from `least` to `most`, and for one that is not above the number before it.
void check_rising(std::string_view option, const std::vector<int64_t>& values, int64_t least, int64_t most);

}  // namespace ssgpt::evaluation
