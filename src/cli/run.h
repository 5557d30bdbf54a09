// The program but for the end of its process.
#pragma once

namespace ssgpt::cli {

// Parses the command line, runs the command, and turns every exception into one message and an exit code
// (core/error.h), which it returns. Once a process.
int run(int argc, const char* const* argv);

}  // namespace ssgpt::cli
