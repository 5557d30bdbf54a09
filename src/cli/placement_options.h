// Options of commands that compute with a checkpoint.
#pragma once

#include "evaluation/load_model.h"

#include <CLI/CLI.hpp>

namespace ssgpt::cli {

// Adds --device and --bfloat16, with the values in `placement` as defaults; it must outlive the command.
void add_placement_options(CLI::App& command, evaluation::Placement& placement);

}  // namespace ssgpt::cli
