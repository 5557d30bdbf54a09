// ssgpt evaluate needle

#include "cli/evaluate.h"
#include "cli/evaluate_options.h"
#include "cli/number_checks.h"
#include "core/error.h"
#include "evaluation/compare_needle.h"

#include <memory>
#include <string>

namespace ssgpt::cli {
namespace {

struct EvaluateNeedleArguments {
  ComparisonArguments comparison;
  evaluation::NeedleOptions options;
  std::string lengths;
  std::string depths = "0,25,50,75,100";
  std::string style = "continue";
  std::string prompt;
  std::string trials_out;
  const CLI::Option* lengths_option = nullptr;
  const CLI::Option* prompt_option = nullptr;
  const CLI::Option* trials_out_option = nullptr;
};

evaluation::NeedlePromptStyle parse_style(const std::string& name) {
  if (name == "continue") return evaluation::NeedlePromptStyle::kContinue;
  if (name == "question") return evaluation::NeedlePromptStyle::kQuestion;
  throw core::UsageError("--prompt-style {}: it must be continue or question.", name);
}

void run(const EvaluateNeedleArguments& arguments) {
  evaluation::NeedleOptions options = arguments.options;
  options.models = model_options(arguments.comparison);
  evaluation::NeedleSettings& settings = options.settings;
  if (arguments.lengths_option->count() > 0) settings.lengths = parse_counts("--lengths", arguments.lengths);
  settings.depths = parse_counts("--depths", arguments.depths, /*least=*/0);
  settings.prompt = arguments.prompt_option->count() > 0
                        ? arguments.prompt
                        : std::string(evaluation::prompt_template(parse_style(arguments.style)));
  if (arguments.trials_out_option->count() > 0) options.trials_out = arguments.trials_out;
  print_comparison(arguments.comparison, [&](const evaluation::Progress& progress) {
    return evaluation::compare_by_needle(options, progress);
  });
}

constexpr const char* kNeedleFooter =
    "A needle is a sentence such as 'The special magic Tokyo number is: 8106422.' somewhere in text of the "
    "shards. A depth of\n"
    "0 is the front of the text and 100 right before the question; between them the needle stands at the end "
    "of "
    "a sentence.\n"
    "Two scores: whether the greedy answer is the number, and by how much the model's log-probability of the "
    "number exceeds\n"
    "that of the likeliest of some wrong ones, the margin, which tells models apart where none answers "
    "yet.\n\n"
    "The prompt ends with the needle's words up to the number (--prompt-style continue), or with a question "
    "and "
    "'Answer:'\n"
    "(question), for models fine-tuned on such. Every model is given the same trials. Three seeds or more of "
    "a "
    "variant give\n"
    "each length and depth a verdict, corrected after Holm over all of them and all candidates.\n\n"
    "Example:\n"
    "  ssgpt evaluate needle --checkpoint runs/sweep --data 'my/shards/validation_*.bin' --lengths 1024,4096 "
    "--rope-theta 500000 --out runs/needle\n"
    "  .venv/bin/python scripts/report.py runs/needle        # heat maps in evaluation.png and report.html, "
    "--attention in needle_attention.png";

void add_trial_options(CLI::App& command, EvaluateNeedleArguments& arguments) {
  evaluation::NeedleSettings& settings = arguments.options.settings;
  command
      .add_option("--data", arguments.options.data, "Token shards of the models' tokenizer, globs allowed")
      ->required();
  arguments.lengths_option =
      command
          .add_option(
              "--lengths", arguments.lengths,
              "Tokens of a trial, question and answer included, rising [default: 1, 2, 4 and 8 times the "
              "length that the baseline was trained on]")
          ->type_name("LIST");
  command
      .add_option("--depths", arguments.depths, "Where the needle stands, in per cent of the text, rising")
      ->capture_default_str()
      ->type_name("LIST");
  settings.trials = 20;
  command.add_option("--trials", settings.trials, "Trials of each length at each depth")
      ->transform(whole_number(1))
      ->capture_default_str()
      ->type_name("N");
  command.add_option("--seed", settings.seed, "Of the trials")
      ->transform(seed_number())
      ->capture_default_str()
      ->type_name("S");
  command.add_option("--distractors", settings.distractors, "Wrong numbers that the margin is over")
      ->transform(whole_number(1, 1000))
      ->capture_default_str()
      ->type_name("K");
  command
      .add_option("--answer-tokens", settings.answer_tokens,
                  "Tokens of a length that are left for the answer")
      ->transform(whole_number(2))
      ->capture_default_str()
      ->type_name("N");
}

}  // namespace

void add_evaluate_needle(CLI::App& evaluate) {
  CLI::App* command = evaluate.add_subcommand("needle",
                                              "Needle in a haystack: how well a number is found in long "
                                              "text, by length and depth, of one model or of "
                                              "several");
  const auto arguments = std::make_shared<EvaluateNeedleArguments>();
  add_trial_options(*command, *arguments);
  command
      ->add_option("--prompt-style", arguments->style,
                   "How the number is asked for: continue (the needle's words up to it) or question")
      ->capture_default_str()
      ->type_name("STYLE");
  arguments->prompt_option =
      command
          ->add_option("--prompt", arguments->prompt,
                       "Instead: the text behind the haystack, with {city} where the city stands; the number "
                       "follows it after a blank")
          ->type_name("TEXT");
  arguments->trials_out_option =
      command
          ->add_option("--trials-out", arguments->trials_out,
                       "Also write each trial of each model as a line of JSON into this file")
          ->type_name("F");
  command->add_flag("--attention", arguments->options.attention,
                    "Measure as well which heads attend to the needle where the answer begins, for tables, "
                    "pictures, --json and --trials-out");
  command
      ->add_option("--batch-size,--batch", arguments->options.batch_size,
                   "Trials at a time [default: about 8,192 tokens]")
      ->transform(whole_number(1))
      ->type_name("B");
  add_comparison_options(*command, arguments->comparison);
  command->footer(kNeedleFooter);
  command->callback([arguments] { run(*arguments); });
}

}  // namespace ssgpt::cli
