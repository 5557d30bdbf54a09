// The commands of the program: one file each. The only folder that prints to stdout or exits.
#pragma once

#include <string>

#include <CLI/CLI.hpp>

namespace ssgpt::cli {

// Each adds its subcommand to `app`, with a callback that runs it once the command line is parsed. Failures
// leave as exceptions: core::Error for the user's, anything else for the program's. A stop that was asked for
// leaves as Stopped.
void add_train(CLI::App& app, const std::string& command_line);  // which goes into run.json
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

// A run that a signal stopped after saving: the program ends with this exit code.
struct Stopped {
  int exit_code = 0;
};

}  // namespace ssgpt::cli
