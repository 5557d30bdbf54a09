// ssgpt evaluate loss

#include "cli/commands.h"
#include "cli/placement_options.h"
#include "evaluation/loss.h"

#include <cmath>
#include <memory>
#include <string>
#include <vector>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace ssgpt::cli {
namespace {

struct Arguments {
  evaluation::LossOptions options;
  int64_t sequence_length = 0;
  int64_t windows = 0;
  bool json = false;
};

void print_json(const evaluation::LossReport& report) {
  nlohmann::ordered_json json = {{"loss", report.result.loss},
                                 {"stderr", report.result.stderr_},  // null for one window
                                 {"perplexity", std::exp(report.result.loss)},
                                 {"tokens", report.result.tokens},
                                 {"windows", report.windows},
                                 {"sequence_length", report.sequence_length},
                                 {"attention", report.attention},
                                 {"step", nullptr}};
  if (report.step) json["step"] = *report.step;
  fmt::print("{}\n", json.dump());
}

void run(Arguments arguments) {
  evaluation::LossOptions& options = arguments.options;
  if (arguments.sequence_length > 0) options.sequence_length = arguments.sequence_length;
  if (arguments.windows > 0) options.max_windows = arguments.windows;
  const evaluation::LossReport report = evaluation::evaluate_loss(options);
  if (arguments.json) {
    print_json(report);
    return;
  }
  fmt::print("loss        {:.6f} +- {:.6f} nats a token (standard error over windows)\n", report.result.loss,
             report.result.stderr_);
  fmt::print("perplexity  {:.3f}\n", std::exp(report.result.loss));
  fmt::print("tokens      {} in {} windows of {}\n", report.result.tokens, report.windows,
             report.sequence_length);
  fmt::print("attention   {}\n", report.attention);
  if (report.step) fmt::print("step        {}\n", *report.step);
}

}  // namespace

void add_evaluate(CLI::App& app) {
  CLI::App* evaluate = app.add_subcommand("evaluate", "Measure a checkpoint");
  evaluate->require_subcommand(1);
  CLI::App* command =
      evaluate->add_subcommand("loss", "Mean cross-entropy over consecutive windows of token shards");
  auto arguments = std::make_shared<Arguments>();
  evaluation::LossOptions& options = arguments->options;
  command->add_option("--checkpoint", options.checkpoint, "Checkpoint, or a Llama directory of Hugging Face")
      ->required();
  command->add_option("--data", options.data, "Token shards, globs allowed")->required();
  command
      ->add_option("--sequence-length", arguments->sequence_length,
                   "Tokens of a window (default: the checkpoint's)")
      ->check(CLI::PositiveNumber);
  command->add_option("--windows", arguments->windows, "At most this many windows (default: all)")
      ->check(CLI::PositiveNumber);
  command->add_option("--batch-size", options.batch_size, "Windows at a time")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  add_placement_options(*command, options.placement);
  command->add_flag("--json", arguments->json, "Print one JSON object");
  command->footer(
      "Example:\n  ssgpt evaluate loss --checkpoint runs/quickstart/ssmax-seed1/checkpoints/step-00000300 "
      "--data 'data/bible/tokens/validation_*.bin'");
  command->callback([arguments] { run(*arguments); });
}

}  // namespace ssgpt::cli
