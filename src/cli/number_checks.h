// Validators for numbers on the command line, with readable messages.
#pragma once

#include <cstdint>
#include <limits>

#include <CLI/CLI.hpp>

namespace ssgpt::cli {

// Each replaces the typed text by the number in plain decimal notation, so use it in transform(): CLI11's own
// conversion would read 010 as eight.

// A whole number from `least` to `most`.
CLI::Validator whole_number(int64_t least, int64_t most = std::numeric_limits<int64_t>::max());

// A seed: a whole number from 0 to 2^64 - 1, without a sign.
CLI::Validator seed_number();

// Any number; the command checks its range.
CLI::Validator number();

// A number above 0.
CLI::Validator positive_number();

}  // namespace ssgpt::cli
