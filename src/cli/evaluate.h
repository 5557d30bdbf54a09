// The commands below `ssgpt evaluate`, one file each.
#pragma once

#include <CLI/CLI.hpp>

namespace ssgpt::cli {

// Each adds its subcommand to `evaluate`, as the functions of cli/commands.h do to the program.
void add_evaluate_attention(CLI::App& evaluate);
void add_evaluate_closed_forms(CLI::App& evaluate);
void add_evaluate_loss(CLI::App& evaluate);
void add_evaluate_needle(CLI::App& evaluate);
void add_evaluate_position(CLI::App& evaluate);
void add_evaluate_retrieval(CLI::App& evaluate);

}  // namespace ssgpt::cli
