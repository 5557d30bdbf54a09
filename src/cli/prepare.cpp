// ssgpt prepare

#include "data/prepare.h"

#include "cli/commands.h"
#include "cli/number_checks.h"
#include "cli/prepare_synthetic.h"
#include "cli/print.h"
#include "core/error.h"
#include "core/file.h"
#include "core/json.h"
#include "core/log.h"
#include "core/stop_signal.h"
#include "core/text.h"
#include "data/prepare_record.h"

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace ssgpt::cli {

namespace {

struct PrepareArguments {
  std::vector<std::string> inputs;
  std::string tokenizer;
  std::string output;
  std::string separator;
  std::string on_bad = "refuse";
  data::PrepareOptions options;
  bool json = false;
};

double ratio(double numerator, double denominator) {
  return denominator > 0 ? numerator / denominator : 0.0;
}

std::string line_of(std::string_view name, const data::SplitCount& count) {
  return fmt::format("{:<12}{} documents, {} tokens, {}\n", name, count.documents, count.tokens,
                     core::counted(count.shards, "shard"));
}

void print_summary(const PrepareArguments& arguments, const data::PrepareSummary& summary) {
  const auto tokens = static_cast<double>(summary.train.tokens + summary.validation.tokens);
  const double bytes_per_token = ratio(static_cast<double>(summary.text_bytes), tokens);
  const double tokens_per_second = ratio(static_cast<double>(summary.encoded_tokens), summary.seconds);
  if (arguments.json) {
    const nlohmann::ordered_json json = {{"out", arguments.output},
                                         {"train", data::json_of(summary.train)},
                                         {"validation", data::json_of(summary.validation)},
                                         {"text_bytes", summary.text_bytes},
                                         {"bytes_per_token", bytes_per_token},
                                         {"encoded_tokens", summary.encoded_tokens},
                                         {"kept_shards", summary.kept_shards},
                                         {"tokens_per_second", tokens_per_second},
                                         {"seconds", summary.seconds},
                                         {"left_out",
                                          {{"empty", summary.left_out.empty},
                                           {"bad", summary.left_out.bad},
                                           {"first_bad", summary.left_out.first_bad}}}};
    print_raw(core::json_text(json) + "\n");
  } else {
    std::string text = line_of("train", summary.train) + line_of("validation", summary.validation);
    text += fmt::format("{:<12}{} as text, {:.2f} bytes per token; {} tokens/s in {}\n", "in all",
                        core::human_bytes(summary.text_bytes), bytes_per_token,
                        core::human_count(tokens_per_second), core::human_duration(summary.seconds));
    if (summary.kept_shards > 0) {
      text += fmt::format("{:<12}{} shards of an interrupted call; {} tokens were encoded by this one\n",
                          "kept", summary.kept_shards, summary.encoded_tokens);
    }
    if (summary.left_out.bad > 0 || summary.left_out.empty > 0) {
      text += fmt::format("{:<12}{} bad and {} empty documents\n", "left out", summary.left_out.bad,
                          summary.left_out.empty);
    }
    for (const std::string& bad : summary.left_out.first_bad) {
      text += fmt::format("{:<12}{}\n", "", bad);
    }
    print_text(text);
  }
}

void run(PrepareArguments& arguments, SyntheticCommand& synthetic) {
  data::PrepareOptions& options = arguments.options;
  if (synthetic.asked()) {
    data::SyntheticOptions shared;
    shared.seed = options.seed;
    shared.output = arguments.output;
    shared.shard_tokens = options.shard_tokens;
    shared.overwrite = options.overwrite;
    synthetic.run(shared, arguments.json);
    return;
  }
  if (arguments.inputs.empty() || arguments.tokenizer.empty()) {
    throw core::UsageError("{} is missing: shards are made of --input with a --tokenizer, or by --synthetic.",
                           arguments.inputs.empty() ? "--input" : "--tokenizer");
  }
  options.inputs = core::expand_globs(arguments.inputs);
  options.tokenizer = arguments.tokenizer;
  options.output = arguments.output;
  options.text.on_bad = arguments.on_bad == "skip" ? data::OnBad::kSkip : data::OnBad::kRefuse;
  if (!arguments.separator.empty()) {
    options.text.document_separator = arguments.separator;
  }
  const core::StopSignal stop;
  options.stop_asked = [&stop] {
    return stop.received() != 0;
  };
  const data::PrepareSummary summary = data::prepare(options);
  if (summary.stopped) {
    core::log::info("stopped on request after {}. Repeat the command to continue.",
                    core::counted(summary.train.shards + summary.validation.shards, "finished shard"));
    throw Stopped{128 + stop.received()};
  }
  print_summary(arguments, summary);
}

// Adds the options that apply only to shards made from text, and returns them.
std::vector<CLI::Option*> add_text_options(CLI::App& command, PrepareArguments& arguments) {
  data::TextOptions& text = arguments.options.text;
  CLI::Option* input = command
                           .add_option("--input", arguments.inputs,
                                       "Text files: .txt, .jsonl, or either as .zst; globs allowed")
                           ->type_name("FILES");
  CLI::Option* tokenizer =
      command.add_option("--tokenizer", arguments.tokenizer, "Sentencepiece model")->type_name("FILE");
  CLI::Option* fraction =
      command
          .add_option("--validation-fraction", arguments.options.validation_fraction,
                      "Fraction of the documents to hold out, spread evenly over the corpus; 0 for none")
          ->transform(number())
          ->capture_default_str();
  CLI::Option* threads = command
                             .add_option("--threads", arguments.options.num_threads,
                                         "Number of encoder threads; 0: one per core")
                             ->transform(whole_number(0))
                             ->capture_default_str();
  CLI::Option* field =
      command.add_option("--field", text.field, "Field of each JSON object that holds the text")
          ->capture_default_str();
  CLI::Option* separator =
      command
          .add_option("--document-separator", arguments.separator,
                      "Line that ends a document in .txt files, for example <|endoftext|>")
          ->type_name("LINE");
  CLI::Option* split =
      command
          .add_option("--split-documents-at", text.split_documents_at,
                      "Split longer .txt files into documents of about this many bytes, at a blank line or "
                      "else at the end of a line; 0 makes each file one document")
          ->transform(CLI::AsSizeValue(/*kb_is_1000=*/false))
          ->type_name("BYTES")
          ->capture_default_str()
          ->excludes(separator);
  CLI::Option* on_bad =
      command
          .add_option(
              "--on-bad", arguments.on_bad,
              "Treatment of lines that are not JSON or lack the field, and of text that is not UTF-8: "
              "refuse, or skip and count")
          ->check(CLI::IsMember({"refuse", "skip"}))
          ->capture_default_str();
  return {input, tokenizer, fraction, threads, field, separator, split, on_bad};
}

}  // namespace

void add_prepare(CLI::App& app) {
  const auto arguments = std::make_shared<PrepareArguments>();
  data::PrepareOptions& options = arguments->options;
  CLI::App* command = app.add_subcommand(
      "prepare",
      "Encode text into token shards, on all cores. EOS follows the ids of each document. The shards are the "
      "same for\n"
      "any number of threads. SIGINT, SIGTERM, SIGUSR1 and SIGHUP stop the command cleanly, and the same "
      "command continues\n"
      "an interrupted one. Memory stays below 1 GiB with up to 16 threads, since a document may have at most "
      "16 MiB, or\n"
      "1 MiB with a tokenizer that only sentencepiece itself can encode (unigram, or with a normalizer).\n"
      "With --synthetic the shards hold the sequences of a synthetic task, one after the other.");
  command->add_option("--out", arguments->output, "Folder for train_*.bin, validation_*.bin and prepare.json")
      ->required()
      ->type_name("FOLDER");
  command
      ->add_option("--seed", options.seed,
                   "Random seed for choosing validation documents, or for the synthetic sequences")
      ->transform(seed_number())
      ->capture_default_str();
  command->add_option("--shard-tokens", options.shard_tokens, "Tokens per shard")
      ->transform(whole_number(0))
      ->capture_default_str();
  const auto synthetic = std::make_shared<SyntheticCommand>(*command);
  synthetic->exclude(add_text_options(*command, *arguments));
  command->add_flag("--overwrite", options.overwrite,
                    "Replace the shards in the folder once all new ones are complete");
  command->add_flag("--json", arguments->json, "Print the summary as JSON");
  command->footer(
      SyntheticCommand::describe_tasks() +
      "\nExamples:\n"
      "  ssgpt prepare --input book.txt --tokenizer tokenizer.model --out data/book --validation-fraction "
      "0.05\n"
      "  ssgpt prepare --input 'slimpajama/train/*/*.jsonl.zst' --tokenizer tokenizer.model --out "
      "data/slimpajama\n"
      "  ssgpt prepare --synthetic copy --vocab-size 64 --length 256 --windows 40000 --out data/copying");
  command->callback([arguments, synthetic] { run(*arguments, *synthetic); });
}

}  // namespace ssgpt::cli
