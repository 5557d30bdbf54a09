// The whole program, except for ending its process.
#pragma once

namespace ssgpt::cli {

// Parses the command line, runs the command, and turns every exception into one message and an exit code
// (core/error.h), which it returns. Call once per process.
int run(int argc, const char* const* argv);

}  // namespace ssgpt::cli
