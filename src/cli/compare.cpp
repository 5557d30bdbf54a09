// ssgpt compare: loss curves of several runs, paired step by step.

#include "cli/commands.h"
#include "cli/print.h"
#include "core/error.h"
#include "core/log.h"
#include "report/comparison.h"
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

// Its points differ in more than the variants do.
void refuse_grids(const std::vector<std::string>& paths) {
  for (const std::string& path : paths) {
    if (!run::holds_sweep(path) || !run::has_grid(run::read_sweep_record(path))) continue;
    throw core::UsageError(
        "{} holds a sweep over a grid, whose points are compared one by one: `ssgpt sweep` writes one "
        "comparison for "
        "each into {}, or name the runs of one point.",
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

}  // namespace

void add_compare(CLI::App& app) {
  const auto options = std::make_shared<CompareOptions>();
  CLI::App* command = app.add_subcommand(
      "compare",
      "Set the loss curves of runs side by side, paired step by step: the mean difference "
      "over a window and over the\n"
      "whole curve, whether seeds give it a verdict, final and smoothed losses, and the tokens "
      "each run needs to reach a\n"
      "loss. Runs that differ in seed alone are grouped.");
  command->add_option("RUN", options->runs, "Run directories, two or more, or the folder of one sweep")
      ->required();
  command
      ->add_option(
          "--baseline", options->baseline,
          "The run that the others are compared with [default: the first, or the baseline of a sweep]")
      ->type_name("RUN");
  command
      ->add_option("--window", options->window,
                   "Steps that the mean difference is taken over: FIRST:LAST, or a fraction from the end, "
                   "0.2 or 20% [default: 20%]")
      ->type_name("W");
  command
      ->add_option("--out", options->out,
                   "Also write comparison.json, comparison.csv and table.txt into this directory")
      ->type_name("DIR");
  command->add_flag("--json", options->json, "Print what comparison.json holds in place of the table");
  command->footer(
      "Example:\n"
      "  ssgpt compare runs/softmax runs/ssmax --out runs/report\n"
      "  ssgpt compare runs/sweep                              # the runs of `ssgpt sweep --run-dir "
      "runs/sweep`\n"
      "  .venv/bin/python scripts/report.py runs/report        # comparison.png and report.html from it\n\n"
      "A verdict, \"lower\" or \"higher\", needs three or more pairs of runs of the same seed (or three runs "
      "a side): a paired\n"
      "t test at 5 % on the mean difference over the window, candidate minus baseline; p of several "
      "candidates is corrected\n"
      "after Holm. Fewer give the difference and the noise along the curve. A run whose loss is not finite "
      "in "
      "the window, or\n"
      "that stopped before its last step, takes the verdict away; one that is still being trained is left "
      "out.\n"
      "docs/statistics.md says how each figure is made.");
  command->callback([options] { run_compare(*options); });
}

}  // namespace ssgpt::cli
