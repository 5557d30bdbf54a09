// What was typed, handed to the options and arguments that the commands declare. CLI11 declares, describes,
// converts and checks them; its own reading of the command line is not used, because it takes texts apart
// that hold [ ] or begin with '-'.
#pragma once

#include <CLI/CLI.hpp>

namespace ssgpt::cli {

// Reads the command line and runs the command that it names. A value is what was typed, character by
// character. In `--name VALUE` and `--name=VALUE` the value may begin with '-', but is no other option of the
// command by name. An option that takes several, `--name A B C`, ends at the next option. What follows `--`
// are arguments, or values of an option before it that takes several. `-1` and `-.5` are numbers, no options.
//
// Throws CLI::Success for --help and --version, core::UsageError of one line for what is wrong with the
// words, and what the command throws.
void run_command_line(CLI::App& app, int argc, const char* const* argv);

}  // namespace ssgpt::cli
