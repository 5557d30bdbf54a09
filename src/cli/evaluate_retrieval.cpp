// ssgpt evaluate retrieval

#include "cli/evaluate.h"
#include "cli/evaluate_options.h"
#include "cli/number_checks.h"
#include "data/synthetic.h"
#include "evaluation/retrieval.h"

#include <memory>
#include <string>

#include <fmt/format.h>

namespace ssgpt::cli {
namespace {

struct EvaluateRetrievalArguments {
  ComparisonArguments comparison;
  evaluation::RetrievalOptions options;
  std::string task;
  std::string lengths;
  const CLI::Option* lengths_option = nullptr;
};

void run(const EvaluateRetrievalArguments& arguments) {
  evaluation::RetrievalOptions options = arguments.options;
  options.models = model_options(arguments.comparison);
  options.task = data::parse_synthetic_task(arguments.task);
  if (arguments.lengths_option->count() > 0) options.lengths = parse_counts("--lengths", arguments.lengths);
  print_comparison(arguments.comparison, /*data=*/{}, [&](const evaluation::Progress& progress) {
    return evaluation::compare_by_retrieval(options, progress);
  });
}

std::string footer() {
  std::string text = "Tasks:\n";
  for (const data::SyntheticTaskRow& task : data::synthetic_tasks())
    text += fmt::format("  {:<8} {}\n", task.name, task.description);
  return text +
         "\nEvery model is asked the same trials. Accuracy is the share of the answer's tokens of which the "
         "model gives the\n"
         "largest logit to the right one, given the tokens before it. Three seeds or more of a variant give "
         "each length a\n"
         "verdict, corrected after Holm over all lengths and candidates.\n\n"
         "Example:\n"
         "  ssgpt evaluate retrieval --checkpoint runs/copy --task copy --lengths 256,512,1024 --out "
         "runs/retrieval\n"
         "  .venv/bin/python scripts/report.py runs/retrieval     # evaluation.png and report.html from it";
}

}  // namespace

void add_evaluate_retrieval(CLI::App& evaluate) {
  CLI::App* command = evaluate.add_subcommand(
      "retrieval",
      "Accuracy and loss on the answers of a synthetic task, by length, of one model or of several");
  const auto arguments = std::make_shared<EvaluateRetrievalArguments>();
  evaluation::RetrievalOptions& options = arguments->options;
  command->add_option("--task", arguments->task, "See below")->required()->type_name("TASK");
  arguments->lengths_option =
      command
          ->add_option("--lengths", arguments->lengths,
                       "Tokens of a trial, rising, as in 256,512,1024 [default: 1, 2, 4, 8 and 16 times the "
                       "length that the baseline was trained on]")
          ->type_name("LIST");
  command->add_option("--trials", options.trials, "Trials of each length")
      ->transform(whole_number(1, evaluation::kMaxRetrievalTrials))
      ->capture_default_str()
      ->type_name("N");
  command->add_option("--seed", options.seed, "Of the trials")
      ->transform(seed_number())
      ->capture_default_str()
      ->type_name("S");
  command->add_option("--batch-size", options.batch_size, "Trials at a time [default: about 8,192 tokens]")
      ->transform(whole_number(1))
      ->type_name("B");
  add_comparison_options(*command, arguments->comparison);
  command->footer(footer());
  command->callback([arguments] { run(*arguments); });
}

}  // namespace ssgpt::cli
