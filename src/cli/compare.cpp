// ssgpt compare: compares the loss curves of several runs, paired step by step.

#include "cli/commands.h"
#include "cli/print.h"
#include "core/error.h"
#include "core/log.h"
#include "report/comparison.h"
#include "report/draw_command.h"
#include "report/output.h"
#include "run/sweep_record.h"

#include <cstdio>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

namespace ssgpt::cli {
namespace {

struct CompareOptions {
  std::vector<std::string> runs;
  std::string baseline;
  std::string window;
  std::string out;
  bool json = false;
};

// Points of a grid differ in more than the variant, so they cannot be compared together.
void refuse_grids(const std::vector<std::string>& paths) {
  for (const std::string& path : paths) {
    if (!run::holds_sweep(path) || !run::has_grid(run::read_sweep_record(path))) continue;
    throw core::UsageError(
        "{} holds a sweep over a grid, whose points are compared one by one: `ssgpt sweep` writes one "
        "comparison for each into {}, or name the runs of one point.",
        path, (std::filesystem::path(path) / "report").string());
  }
}

void run_compare(const CompareOptions& options) {
  refuse_grids(options.runs);
  report::Options request;
  const run::Expansion expansion = run::expand_sweeps({options.runs.begin(), options.runs.end()});
  for (const std::filesystem::path& run : expansion.not_begun) {
    core::log::info("{} has no training loss yet, and is left out.", run.string());
  }
  request.runs = expansion.runs;
  request.baseline = expansion.baseline;
  if (!options.baseline.empty()) {
    request.baseline = options.baseline;
  } else if (!expansion.sweep_baseline.empty() && !expansion.baseline) {
    throw core::UsageError(
        "No run of {}, the baseline of the sweep in {}, has a training loss yet. Name another one with "
        "--baseline RUN.",
        expansion.sweep_baseline, options.runs.front());
  }
  if (!options.window.empty()) request.window = options.window;
  const report::Comparison comparison = report::compare(request);
  if (!options.out.empty()) report::write_files(comparison, options.out);
  if (options.json) {
    print_raw(report::to_json(comparison));
  } else {
    print_text(report::to_table(comparison));
  }
}

std::string compare_footer() {
  return "Examples:\n"
         "  ssgpt compare runs/softmax runs/ssmax --out runs/report\n"
         "  ssgpt compare runs/sweep   # the runs of `ssgpt sweep --run-dir runs/sweep`\n  " +
         report::draw_command("runs/report") +
         "   # comparison.png and report.html from it\n\n"
         "A verdict, \"lower\" or \"higher\", needs three or more pairs of runs with the same seed (or three "
         "runs per side): a\n"
         "paired t-test at the 5 % level on the mean difference over the window, candidate minus baseline, "
         "Holm-corrected for\n"
         "several candidates. With fewer, the difference and the noise along the curve are reported. There "
         "is no verdict where\n"
         "a run stopped before its last step, or its loss is not finite in the window; a run that is still "
         "being trained is\n"
         "left out. docs/statistics.md explains how each figure is computed.";
}

}  // namespace

void add_compare(CLI::App& app) {
  const auto options = std::make_shared<CompareOptions>();
  CLI::App* command = app.add_subcommand(
      "compare",
      "Compare the loss curves of runs, paired step by step: the mean difference over a window and over the "
      "whole\n"
      "curve, with a verdict where there are enough seeds, final and smoothed losses, and the tokens that "
      "each run needs\n"
      "to reach a loss. Runs that differ only in seed are grouped.");
  command->add_option("RUN", options->runs, "Two or more run directories, or the folder of one sweep")
      ->required()
      ->type_name("DIR");
  command
      ->add_option("--baseline", options->baseline,
                   "Run that the others are compared with [default: the first, or the baseline of a sweep]")
      ->type_name("RUN");
  command
      ->add_option("--window", options->window,
                   "Steps that the mean difference is averaged over: FIRST:LAST, or a fraction from the end, "
                   "such as 0.2 or 20% [default: 20%]")
      ->type_name("W");
  command
      ->add_option("--out", options->out,
                   "Also write comparison.json, comparison.csv and table.txt into this directory")
      ->type_name("DIR");
  command->add_flag("--json", options->json, "Print the contents of comparison.json instead of the table");
  command->footer(compare_footer());
  command->callback([options] { run_compare(*options); });
}

}  // namespace ssgpt::cli
