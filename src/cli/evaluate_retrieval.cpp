// ssgpt evaluate retrieval

#include "cli/evaluate.h"
#include "cli/evaluate_options.h"
#include "cli/number_checks.h"
#include "data/synthetic.h"
#include "evaluation/retrieval.h"
#include "report/draw_command.h"

#include <memory>
#include <string>

#include <fmt/format.h>
#include <fmt/ranges.h>

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
    text += fmt::format("  {:<9} {}\n", task.name, task.description);
  return text +
         "\n"
         "All models get the same trials. Accuracy is the fraction of answer tokens to which the model gives "
         "the largest logit,\n"
         "given the tokens before. With three or more seeds per variant, each length gets a verdict, "
         "Holm-corrected over all\n"
         "lengths and candidates.\n\n"
         "Examples:\n"
         "  ssgpt evaluate retrieval --checkpoint runs/copy --task copy --lengths 256,512,1024 --out "
         "runs/retrieval\n  " +
         report::draw_command("runs/retrieval") + "   # evaluation.png and report.html from it";
}

}  // namespace

void add_evaluate_retrieval(CLI::App& evaluate) {
  CLI::App* command = evaluate.add_subcommand(
      "retrieval",
      "Measure the accuracy and loss of one or more models on the answers of a synthetic task, by length");
  const auto arguments = std::make_shared<EvaluateRetrievalArguments>();
  evaluation::RetrievalOptions& options = arguments->options;
  command->add_option("--task", arguments->task, "Synthetic task (see below)")
      ->required()
      ->type_name(fmt::format("{}", fmt::join(data::synthetic_task_names(), "|")));
  arguments->lengths_option =
      command
          ->add_option("--lengths", arguments->lengths,
                       "Tokens per trial, ascending, as in 256,512,1024 [default: 1, 2, 4, 8 and 16 times "
                       "the length that the baseline was trained on]")
          ->type_name("LIST");
  command->add_option("--trials", options.trials, "Number of trials per length")
      ->transform(whole_number(1, evaluation::kMaxRetrievalTrials))
      ->capture_default_str()
      ->type_name("N");
  command->add_option("--seed", options.seed, "Random seed of the trials")
      ->transform(seed_number())
      ->capture_default_str()
      ->type_name("S");
  command->add_option("--batch-size", options.batch_size, "Trials per batch [default: about 8,192 tokens]")
      ->transform(whole_number(1))
      ->type_name("B");
  add_comparison_options(*command, arguments->comparison);
  command->footer(footer());
  command->callback([arguments] { run(*arguments); });
}

}  // namespace ssgpt::cli
