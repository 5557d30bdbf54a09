// The commands of the program, one file each. Only this folder prints to stdout or exits.
#pragma once

#include <string>

#include <CLI/CLI.hpp>

namespace ssgpt::cli {

// Each adds its subcommand to `app`, with a callback that runs it once the command line is parsed. Failures
// propagate as exceptions: core::Error for user errors, anything else for bugs. A requested stop is thrown as
// Stopped.
void add_train(CLI::App& app, const std::string& command_line);  // command_line is recorded in run.json
void add_sweep(CLI::App& app);
void add_compare(CLI::App& app);
void add_evaluate(CLI::App& app);
void add_generate(CLI::App& app);
void add_tokenizer(CLI::App& app);
void add_prepare(CLI::App& app);
void add_convert(CLI::App& app);
void add_inspect(CLI::App& app);
void add_keys(CLI::App& app);
void add_bench(CLI::App& app);
void add_completion(CLI::App& app);  // completes every command of `app`, which must outlive the callback

// Thrown when a signal stopped the work after saving: the program ends with this exit code.
struct Stopped {
  int exit_code = 0;
};

}  // namespace ssgpt::cli
