// ssgpt evaluate position

#include "cli/evaluate.h"
#include "cli/evaluate_options.h"
#include "report/draw_command.h"

#include <fmt/format.h>

namespace ssgpt::cli {
namespace {

constexpr const char* kPositionFooter =
    "Windows do not overlap: each token is predicted only from those before it in its window, so the "
    "positions of a bin\n"
    "are its context lengths. Several models are compared variant by variant, on the same windows. With "
    "three or more\n"
    "seeds per variant, each bin gets a verdict, Holm-corrected over all bins and candidates; with fewer, "
    "the difference\n"
    "and the noise of the text are reported. docs/statistics.md explains how each figure is computed.\n\n"
    "Examples:\n"
    "  ssgpt evaluate position --checkpoint runs/sweep --data 'my/shards/validation_*.bin' --max-length 8192 "
    "--out runs/position\n"
    "  ssgpt evaluate position --checkpoint runs/softmax runs/ssmax --data my/book.bin --rope-theta "
    "10000,500000\n";

}  // namespace

void add_evaluate_position(CLI::App& evaluate) {
  CLI::App* command = evaluate.add_subcommand(
      "position",
      "Measure the mean loss of one or more models by position, in windows far longer than in training");
  add_window_comparison(*command, evaluation::compare_by_position);
  command->footer(fmt::format("{}  {}   # evaluation.png and report.html from it", kPositionFooter,
                              report::draw_command("runs/position")));
}

}  // namespace ssgpt::cli
