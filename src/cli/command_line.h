// Parses the command line into the options and arguments that the commands declare. CLI11 declares,
// describes, converts and checks them; its own parser is not used, because it splits texts that contain [ ]
// or begin with '-'.
#pragma once

#include <CLI/CLI.hpp>

namespace ssgpt::cli {

// Parses the command line and runs the command that it names. Values are taken literally. In `--name VALUE`
// and `--name=VALUE` the value may begin with '-', but in the first form must not be the name of an option.
// The values of an option that takes several, `--name A B C`, end at the next option. Everything after `--`
// is an argument, or a value of a preceding option that takes several. `-1` and `-.5` are numbers, not
// options.
//
// Throws CLI::Success for --help and --version, a one-line core::UsageError for a wrong command line, and
// whatever the command throws.
void run_command_line(CLI::App& app, int argc, const char* const* argv);

}  // namespace ssgpt::cli
