// ssgpt evaluate needle

#include "cli/evaluate.h"
#include "cli/evaluate_options.h"
#include "cli/number_checks.h"
#include "core/error.h"
#include "evaluation/compare_needle.h"
#include "report/draw_command.h"

#include <filesystem>
#include <memory>
#include <string>

#include <fmt/format.h>

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

// Refuses a --trials-out that --out would overwrite at the end.
void check_trials_beside(const std::string& out, const std::filesystem::path& trials) {
  const auto place_of = [](const std::filesystem::path& path) {
    return std::filesystem::weakly_canonical(std::filesystem::absolute(path));
  };
  for (const char* name : report::kEvaluationFileNames) {
    if (out.empty() || place_of(trials) != place_of(std::filesystem::path(out) / name)) continue;
    throw core::UsageError("--trials-out {}: --out writes this file as well; name another one.",
                           trials.string());
  }
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
  if (options.trials_out) check_trials_beside(arguments.comparison.out, *options.trials_out);
  print_comparison(arguments.comparison, options.data, [&](const evaluation::Progress& progress) {
    return evaluation::compare_by_needle(options, progress);
  });
}

constexpr const char* kNeedleFooter =
    "A needle is a sentence such as 'The special magic Tokyo number is: 8106422.' hidden in text from the "
    "shards. Depth 0\n"
    "is the beginning of the text, and depth 100 its end, right before the question; at other depths the "
    "needle follows\n"
    "the end of a sentence. There are two scores: whether the greedy answer is the number, and the margin, "
    "by which the\n"
    "log-probability of the number exceeds that of the most probable of several wrong numbers. The margin "
    "distinguishes\n"
    "models even if none of them answers correctly.\n\n"
    "The prompt ends with the needle's words up to the number (--prompt-style continue), or with a question "
    "and 'Answer:'\n"
    "(question), for models fine-tuned on such prompts. All models get the same trials. With three or more "
    "seeds per\n"
    "variant, each length and depth gets a verdict, Holm-corrected over all of them and all candidates.\n\n"
    "Examples:\n"
    "  ssgpt evaluate needle --checkpoint runs/sweep --data 'my/shards/validation_*.bin' --lengths 1024,4096 "
    "--rope-theta 500000 --out runs/needle\n";

void add_trial_options(CLI::App& command, EvaluateNeedleArguments& arguments) {
  evaluation::NeedleSettings& settings = arguments.options.settings;
  command
      .add_option("--data", arguments.options.data, "Token shards of the models' tokenizer, globs allowed")
      ->required()
      ->type_name("FILES");
  arguments.lengths_option =
      command
          .add_option(
              "--lengths", arguments.lengths,
              "Tokens per trial, including question and answer, ascending [default: 1, 2, 4 and 8 times the "
              "length that the baseline was trained on]")
          ->type_name("LIST");
  command
      .add_option("--depths", arguments.depths, "Positions of the needle in per cent of the text, ascending")
      ->capture_default_str()
      ->type_name("LIST");
  settings.trials = 20;
  command.add_option("--trials", settings.trials, "Number of trials per length and depth")
      ->transform(whole_number(1, evaluation::kMaxNeedleTrials))
      ->capture_default_str()
      ->type_name("N");
  command.add_option("--seed", settings.seed, "Random seed of the trials")
      ->transform(seed_number())
      ->capture_default_str()
      ->type_name("S");
  command
      .add_option("--distractors", settings.distractors,
                  "Number of wrong numbers that the margin is computed over")
      ->transform(whole_number(1, 1000))
      ->capture_default_str()
      ->type_name("K");
  command
      .add_option("--answer-tokens", settings.answer_tokens, "Tokens of each length reserved for the answer")
      ->transform(whole_number(2))
      ->capture_default_str()
      ->type_name("N");
}

}  // namespace

void add_evaluate_needle(CLI::App& evaluate) {
  CLI::App* command = evaluate.add_subcommand("needle",
                                              "Measure how well one or more models find a number in long "
                                              "text (needle in a haystack), by length and depth");
  const auto arguments = std::make_shared<EvaluateNeedleArguments>();
  add_trial_options(*command, *arguments);
  CLI::Option* style =
      command
          ->add_option("--prompt-style", arguments->style,
                       "How to ask for the number: continue (the needle's words up to it) or question")
          ->capture_default_str()
          ->type_name("continue|question");
  arguments->prompt_option =
      command
          ->add_option("--prompt", arguments->prompt,
                       "Text after the haystack, in place of --prompt-style, with {city} where the city "
                       "goes; the number follows after a space")
          ->type_name("TEXT")
          ->excludes(style);
  arguments->trials_out_option =
      command
          ->add_option("--trials-out", arguments->trials_out,
                       "Also write each trial of each model as a line of JSON to this file")
          ->type_name("FILE");
  command->add_flag("--attention", arguments->options.attention,
                    "Also measure which heads attend to the needle where the answer begins, for tables, "
                    "pictures, --json and --trials-out");
  command
      ->add_option("--batch-size,--batch", arguments->options.batch_size,
                   "Trials per batch [default: about 8,192 tokens]")
      ->transform(whole_number(1))
      ->type_name("B");
  add_comparison_options(*command, arguments->comparison);
  command->footer(fmt::format(
      "{}  {}   # heat maps in evaluation.png and report.html, --attention in needle_attention.png",
      kNeedleFooter, report::draw_command("runs/needle")));
  command->callback([arguments] { run(*arguments); });
}

}  // namespace ssgpt::cli
