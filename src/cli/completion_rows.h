// The program's commands, options and config keys as plain rows, the data of the shell code that
// `ssgpt completion` prints. The values of an option follow from its checks and from its type name, which
// --help shows too. Does not know the shells.
#pragma once

#include <string>
#include <vector>

#include <CLI/CLI.hpp>

namespace ssgpt::cli {

// Rows "COMMAND|WORD|KIND|VALUES|TEXT", described in src/cli/completion/common.sh, of every command, option
// and argument of `app` and of every config key. TEXT is a complete phrase on one line; the other parts have
// no '|'. An option whose type name is not known here fails a check (core::InternalError).
std::vector<std::string> completion_rows(CLI::App& app);

}  // namespace ssgpt::cli
