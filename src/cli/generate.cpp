// ssgpt generate

#include "cli/commands.h"
#include "cli/number_checks.h"
#include "cli/placement_options.h"
#include "core/error.h"
#include "core/json.h"
#include "core/log.h"
#include "core/system_message.h"
#include "core/text.h"
#include "evaluation/generation.h"
#include "run/directory.h"

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstdio>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unistd.h>
#include <vector>

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

namespace ssgpt::cli {
namespace {

struct GenerateArguments {
  evaluation::GenerateOptions options;
  std::optional<std::string> prompt_tokens;
  bool json = false;
};

constexpr auto kGenerateFooter =
    "The continuation is streamed to stdout; several samples are printed one after the other once all are "
    "done. A\n"
    "sample ends after the token that ends a document. The same options give the same text on the same "
    "machine, and on\n"
    "a CPU sample i does not depend on --samples.\n\n"
    "--json prints one object at the end: tokens (the new ids) and text of the first sample (text is null "
    "without a\n"
    "tokenizer); finish_reason, \"stop\" where a document ended, else \"length\"; samples, a list with the "
    "tokens, text\n"
    "and finish_reason of each sample; prompt_tokens, attention, step, seed, tokens_per_second.\n\n"
    "Examples:\n"
    "  ssgpt generate --checkpoint runs/quickstart/ssmax-seed1/checkpoints/step-00000300 --prompt 'In the "
    "beginning'\n"
    "  ssgpt generate --checkpoint my/llama --prompt-tokens 1,2,3 --max-tokens 50 --temperature 0 --json";

std::vector<int64_t> parse_tokens(const std::string& text) {
  std::vector<int64_t> tokens;
  for (size_t begin = 0; begin <= text.size() && !text.empty();) {
    const size_t end = std::min(text.find(',', begin), text.size());
    const std::string item = text.substr(begin, end - begin);
    const std::optional<int64_t> token = core::parse_number<int64_t>(item);
    if (!token) {
      throw core::UsageError(
          "--prompt-tokens {}: '{}' is not a token id; ids are whole numbers between commas, as in 1,2,3.",
          text, item);
    }
    tokens.push_back(*token);
    begin = end + 1;
  }
  return tokens;
}

// Excludes the first token of each sample, which comes with the prompt; nullopt where there are no others.
std::optional<double> tokens_per_second(const evaluation::GenerateReport& report) {
  size_t count = 0;
  for (const auto& sample : report.samples) count += sample.tokens.size() - 1;
  if (count == 0) return std::nullopt;
  return static_cast<double>(count) / report.decode_seconds;
}

nlohmann::ordered_json to_json(const evaluation::TextSample& sample) {
  nlohmann::ordered_json json = {
      {"tokens", sample.tokens}, {"text", nullptr}, {"finish_reason", sample.stopped ? "stop" : "length"}};
  if (sample.text) json["text"] = *sample.text;
  return json;
}

void print_json(const evaluation::GenerateReport& report, uint64_t seed) {
  nlohmann::ordered_json json = to_json(report.samples.front());
  json["samples"] = nlohmann::ordered_json::array();
  for (const auto& sample : report.samples) json["samples"].push_back(to_json(sample));
  json["prompt_tokens"] = report.prompt_tokens;
  json["attention"] = report.attention;
  json["step"] = nullptr;
  if (report.step) json["step"] = *report.step;
  json["seed"] = seed;
  json["tokens_per_second"] = nullptr;
  if (const auto speed = tokens_per_second(report)) json["tokens_per_second"] = *speed;
  fmt::print("{}\n", core::json_text(json));
}

// Text made safe for a terminal, which would obey escape sequences that a model may write. A pipe or a file
// receives the text unchanged.
std::string for_stdout(std::string_view text) {
  static const bool terminal = ::isatty(STDOUT_FILENO) == 1;
  std::string shown(text);
  if (terminal) {
    std::erase_if(shown, [](char byte) {
      return (static_cast<unsigned char>(byte) < 0x20 && byte != '\n' && byte != '\t') || byte == 0x7F;
    });
  }
  return shown;
}

void print_samples(const evaluation::GenerateReport& report) {
  for (size_t i = 0; i < report.samples.size(); ++i) {
    const evaluation::TextSample& sample = report.samples[i];
    fmt::print("--- sample {} of {} ---\n{}\n", i + 1, report.samples.size(),
               sample.text ? for_stdout(*sample.text) : fmt::format("{}", fmt::join(sample.tokens, " ")));
  }
}

// Prints without delay, into a pipe too.
void print_part(std::string_view text) {
  if (std::fwrite(text.data(), 1, text.size(), stdout) != text.size() || std::fflush(stdout) != 0) {
    throw core::RunError("The text could not be written to the standard output: {}.",
                         core::system_message(errno));
  }
}

void log_speed(const evaluation::GenerateReport& report) {
  size_t count = 0;
  for (const auto& sample : report.samples) count += sample.tokens.size();
  const auto speed = tokens_per_second(report);
  core::log::info("{} new tokens after a prompt of {}, which took {:.0f} ms to read{}.", count,
                  report.prompt_tokens.size(), report.prompt_seconds * 1e3,
                  speed ? fmt::format("; {:.0f} tokens/s", *speed) : std::string());
}

void check(const model::SamplingOptions& sampling) {
  if (!std::isfinite(sampling.temperature) || sampling.temperature < 0.0) {
    throw core::UsageError(
        "--temperature {}: it must be a number of at least 0 (0: always the most likely token).",
        sampling.temperature);
  }
  if (!(sampling.top_p > 0.0 && sampling.top_p <= 1.0)) {
    throw core::UsageError("--top-p {}: it must be above 0 and at most 1 (1: all tokens).", sampling.top_p);
  }
}

void run(GenerateArguments arguments) {
  evaluation::GenerateOptions& options = arguments.options;
  check(options.sampling);
  if (const std::optional<run::Checkpoint> newest = run::newest_checkpoint(options.checkpoint)) {
    core::log::info("{}: its newest checkpoint, step {}, continues the prompt.", options.checkpoint.string(),
                    newest->step);
    options.checkpoint = newest->directory;
  }
  if (arguments.prompt_tokens) options.prompt_tokens = parse_tokens(*arguments.prompt_tokens);
  const bool streams = !arguments.json && options.num_samples == 1;
  evaluation::OnText on_text;
  if (streams) {
    on_text = [](size_t, std::string_view text) {
      print_part(for_stdout(text));
    };
  }
  const evaluation::GenerateReport report = evaluation::generate_text(options, on_text);
  if (arguments.json) {
    print_json(report, options.seed);
  } else if (streams) {
    print_part("\n");
  } else {
    print_samples(report);
  }
  log_speed(report);
}

void add_sampling_options(CLI::App& command, evaluation::GenerateOptions& options) {
  command
      .add_option("--temperature", options.sampling.temperature,
                  "Sampling temperature, which divides the logits; 0: always the most likely token")
      ->transform(number())
      ->type_name("X")
      ->capture_default_str();
  command.add_option("--top-k", options.sampling.top_k, "Sample only from the K most likely tokens; 0: all")
      ->type_name("K")
      ->transform(whole_number(0))
      ->capture_default_str();
  command
      .add_option("--top-p", options.sampling.top_p,
                  "Sample only from the fewest of the top-k tokens that hold this share of the probability; "
                  "1: all")
      ->transform(number())
      ->type_name("P")
      ->capture_default_str();
  command.add_option("--seed", options.seed, "Random seed")
      ->transform(seed_number())
      ->type_name("S")
      ->capture_default_str();
  command
      .add_option("--samples", options.num_samples,
                  "Number of continuations of the prompt, generated as one batch")
      ->type_name("M")
      ->transform(whole_number(1, int64_t{1} << 16))
      ->capture_default_str();
}

}  // namespace

void add_generate(CLI::App& app) {
  CLI::App* command = app.add_subcommand("generate", "Continue a prompt with text from a checkpoint");
  auto arguments = std::make_shared<GenerateArguments>();
  evaluation::GenerateOptions& options = arguments->options;
  command
      ->add_option(
          "--checkpoint", options.checkpoint,
          "Checkpoint, run (its newest checkpoint), or a Hugging Face directory of a Llama or Qwen 3 model")
      ->type_name("DIR")
      ->required();
  auto* prompt = command->add_option("--prompt", options.prompt, "Text to continue; '' begins a document")
                     ->type_name("TEXT");
  command
      ->add_option("--prompt-tokens", arguments->prompt_tokens,
                   "Prompt as comma-separated token ids (instead of --prompt)")
      ->type_name("IDS")
      ->excludes(prompt);
  command
      ->add_option("--max-tokens", options.max_tokens,
                   fmt::format("Maximum number of new tokens per sample [{}]", evaluation::kDefaultMaxTokens))
      ->type_name("N")
      ->transform(whole_number(1, int64_t{1} << 24));
  add_sampling_options(*command, options);
  command->add_flag("--ignore-eos", options.ignore_eos, "Continue after the end of a document");
  add_placement_options(*command, options.placement);
  command->add_flag("--json", arguments->json, "Print one JSON object (see below)");
  command->footer(kGenerateFooter);
  command->callback([arguments] { run(*arguments); });
}

}  // namespace ssgpt::cli
