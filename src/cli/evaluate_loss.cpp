// ssgpt evaluate loss

#include "cli/evaluate.h"
#include "cli/evaluate_options.h"
#include "cli/placement_options.h"
#include "evaluation/loss.h"

#include <cmath>
#include <memory>
#include <string>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace ssgpt::cli {
namespace {

struct Arguments {
  evaluation::LossOptions options;
  ChangeArguments changes;
  int64_t sequence_length = 0;
  int64_t windows = 0;
  bool json = false;
};

nlohmann::ordered_json to_json(const evaluation::Overrides& overrides) {
  const auto optional = [](const std::optional<double>& value) {
    return value ? nlohmann::ordered_json(*value) : nlohmann::ordered_json(nullptr);
  };
  nlohmann::ordered_json json = {{"rope_theta", optional(overrides.rope_theta)},
                                 {"yarn_factor", optional(overrides.yarn_factor)},
                                 {"row_scale", optional(overrides.row_scale)},
                                 {"attention", nullptr},
                                 {"extend_pn", overrides.extend_pn}};
  if (overrides.attention) json["attention"] = config::to_string(*overrides.attention);
  return json;
}

void print_json(const evaluation::LossReport& report, const evaluation::Overrides& overrides) {
  nlohmann::ordered_json json = {{"loss", report.result.loss},
                                 {"stderr", report.result.stderr_},  // null for one window
                                 {"perplexity", std::exp(report.result.loss)},
                                 {"tokens", report.result.tokens},
                                 {"windows", report.windows},
                                 {"sequence_length", report.sequence_length},
                                 {"attention", report.attention},
                                 {"step", nullptr}};
  if (report.step) json["step"] = *report.step;
  json["overrides"] = to_json(overrides);
  fmt::print("{}\n", json.dump());
}

// "RoPE theta 500000, row scale 1.5"; empty where nothing is changed.
std::string changes_text(const evaluation::Overrides& overrides) {
  std::string text;
  const auto add = [&](const std::string& change) {
    text.append(text.empty() ? "" : ", ").append(change);
  };
  if (overrides.rope_theta) add(fmt::format("RoPE theta {}", *overrides.rope_theta));
  if (overrides.yarn_factor) add(fmt::format("YaRN factor {}", *overrides.yarn_factor));
  if (overrides.row_scale) add(fmt::format("row scale {}", *overrides.row_scale));
  if (overrides.attention)
    add(fmt::format("swapped to {}, untrained", config::to_string(*overrides.attention)));
  if (overrides.extend_pn) add("p_n continued by its fit");
  return text;
}

void run(Arguments arguments) {
  evaluation::LossOptions& options = arguments.options;
  options.overrides = parse_overrides(arguments.changes);
  if (arguments.sequence_length > 0) options.sequence_length = arguments.sequence_length;
  if (arguments.windows > 0) options.max_windows = arguments.windows;
  const evaluation::LossReport report = evaluation::evaluate_loss(options);
  if (arguments.json) {
    print_json(report, options.overrides);
    return;
  }
  fmt::print("loss        {:.6f} +- {:.6f} nats a token (standard error over windows)\n", report.result.loss,
             report.result.stderr_);
  fmt::print("perplexity  {:.3f}\n", std::exp(report.result.loss));
  fmt::print("tokens      {} in {} windows of {}\n", report.result.tokens, report.windows,
             report.sequence_length);
  fmt::print("attention   {}\n", report.attention);
  if (report.step) fmt::print("step        {}\n", *report.step);
  if (const std::string changes = changes_text(options.overrides); !changes.empty())
    fmt::print("changed     {}\n", changes);
}

}  // namespace

void add_evaluate_loss(CLI::App& evaluate) {
  CLI::App* command =
      evaluate.add_subcommand("loss", "Mean cross-entropy over consecutive windows of token shards");
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
  add_change_options(*command, arguments->changes, /*lists=*/false);
  add_placement_options(*command, options.placement);
  command->add_flag("--json", arguments->json, "Print one JSON object");
  command->footer(
      "Example:\n  ssgpt evaluate loss --checkpoint runs/quickstart/ssmax-seed1/checkpoints/step-00000300 "
      "--data 'data/bible/tokens/validation_*.bin'");
  command->callback([arguments] { run(*arguments); });
}

}  // namespace ssgpt::cli
