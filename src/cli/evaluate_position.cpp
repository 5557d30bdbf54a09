// ssgpt evaluate position

#include "cli/evaluate.h"
#include "cli/evaluate_options.h"

namespace ssgpt::cli {
namespace {

constexpr const char* kPositionFooter =
    "Windows do not overlap: each position of a window is predicted from the tokens before it in that window "
    "alone, so\n"
    "the context of a bin is what its positions say. Several models are compared variant by variant, on the "
    "same windows:\n"
    "three seeds or more give each bin a verdict, corrected after Holm over all bins and candidates; fewer "
    "give the\n"
    "difference and the noise of the text. docs/statistics.md says how each figure is made.\n\n"
    "Example:\n"
    "  ssgpt evaluate position --checkpoint runs/sweep --data 'my/shards/validation_*.bin' --max-length 8192 "
    "--out runs/position\n"
    "  ssgpt evaluate position --checkpoint runs/softmax runs/ssmax --data my/book.bin --rope-theta "
    "10000,500000\n"
    "  .venv/bin/python scripts/report.py runs/position      # evaluation.png and report.html from it";

}  // namespace

void add_evaluate_position(CLI::App& evaluate) {
  CLI::App* command = evaluate.add_subcommand(
      "position",
      "Mean loss by position in windows far longer than those of training, of one model or of several");
  add_window_comparison(*command, evaluation::compare_by_position);
  command->footer(kPositionFooter);
}

}  // namespace ssgpt::cli
