// ssgpt evaluate position

#include "cli/evaluate.h"
#include "cli/evaluate_options.h"

#include <memory>

namespace ssgpt::cli {
namespace {

struct EvaluatePositionArguments {
  ComparisonArguments comparison;
  evaluation::PositionOptions options;
};

void run(const EvaluatePositionArguments& arguments) {
  evaluation::PositionOptions options = arguments.options;
  options.models = model_options(arguments.comparison);
  print_comparison(arguments.comparison, [&](const evaluation::Progress& progress) {
    return evaluation::compare_by_position(options, progress);
  });
}

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
  const auto arguments = std::make_shared<EvaluatePositionArguments>();
  evaluation::PositionOptions& options = arguments->options;
  add_window_options(*command, options);
  add_comparison_options(*command, arguments->comparison);
  command->footer(kPositionFooter);
  command->callback([arguments] { run(*arguments); });
}

}  // namespace ssgpt::cli
