// ssgpt evaluate: the parent of the evaluation commands.

#include "cli/evaluate.h"

#include "cli/commands.h"

namespace ssgpt::cli {

void add_evaluate(CLI::App& app) {
  CLI::App* evaluate = app.add_subcommand(
      "evaluate",
      "Evaluate checkpoints: loss, also by position far beyond the trained length; retrieval in synthetic "
      "tasks and in\n"
      "text; attention statistics");
  evaluate->require_subcommand(1);
  add_evaluate_loss(*evaluate);
  add_evaluate_position(*evaluate);
  add_evaluate_retrieval(*evaluate);
  add_evaluate_needle(*evaluate);
  add_evaluate_attention(*evaluate);
  add_evaluate_closed_forms(*evaluate);
}

}  // namespace ssgpt::cli
