// ssgpt evaluate loss

#include "cli/evaluate.h"
#include "cli/evaluate_options.h"
#include "cli/number_checks.h"
#include "cli/placement_options.h"
#include "core/json.h"
#include "evaluation/loss.h"
#include "report/changes_json.h"

#include <cmath>
#include <memory>
#include <string>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace ssgpt::cli {
namespace {

struct EvaluateLossArguments {
  evaluation::LossOptions options;
  ChangeArguments changes;
  int64_t sequence_length = 0;
  int64_t windows = 0;
  bool skip_long = false;
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
  if (report.is_of_answers) json["examples_left_out"] = report.examples_left_out;
  json["overrides"] = report::changes_json(report.changes);
  json["pn_fit"] = report::fit_json(report.fitted);
  fmt::print("{}\n", core::json_text(json));
}

// "RoPE theta 500000, row scale 1.5"; empty where nothing is changed.
std::string changes_text(const evaluation::LossReport& report) {
  std::string text;
  const auto add = [&](const std::string& change) {
    text.append(text.empty() ? "" : ", ").append(change);
  };
  const report::ModelChanges& changes = report.changes;
  if (changes.rope_theta) add(fmt::format("RoPE theta {}", *changes.rope_theta));
  if (changes.yarn_factor) add(fmt::format("YaRN factor {}", *changes.yarn_factor));
  if (changes.row_scale) add(fmt::format("row scale {}", *changes.row_scale));
  if (changes.attention) add(fmt::format("swapped to {}, untrained", *changes.attention));
  if (const auto& fit = report.fitted) {
    add(
        fmt::format("p_n beyond its {} entries is {:.4g} log n {:+.4g} (fitted to them; residuals: root mean "
                    "square {:.2g}, at most {:.2g})",
                    fit->entries, fit->a1, fit->a2, fit->rms_residual, fit->max_residual));
  }
  return text;
}

void run(EvaluateLossArguments arguments) {
  evaluation::LossOptions& options = arguments.options;
  options.changes = parse_changes(arguments.changes, /*lists=*/false);
  if (arguments.sequence_length > 0) options.sequence_length = arguments.sequence_length;
  if (arguments.skip_long) options.on_long_example = config::OnLongExample::kSkip;
  if (arguments.windows > 0) options.max_windows = arguments.windows;
  const evaluation::LossReport report = evaluation::evaluate_loss(options);
  if (arguments.json) {
    print_json(report);
    return;
  }
  fmt::print("loss        {:.6f} +- {:.6f} nats per token (standard error over windows)\n",
             report.result.loss, report.result.stderr_);
  fmt::print("perplexity  {:.3f}\n", std::exp(report.result.loss));
  fmt::print("tokens      {}{} in {} windows of {}\n", report.result.tokens,
             report.is_of_answers ? " of answers" : "", report.windows, report.sequence_length);
  if (report.examples_left_out > 0) {
    fmt::print("left out    {} examples that do not fit into a window\n", report.examples_left_out);
  }
  fmt::print("attention   {}\n", report.attention);
  if (report.step) fmt::print("step        {}\n", *report.step);
  if (const std::string changes = changes_text(report); !changes.empty())
    fmt::print("changed     {}\n", changes);
}

}  // namespace

void add_evaluate_loss(CLI::App& evaluate) {
  CLI::App* command =
      evaluate.add_subcommand("loss",
                              "Measure the mean cross-entropy over consecutive windows of token shards, or "
                              "over the answers of examples");
  auto arguments = std::make_shared<EvaluateLossArguments>();
  evaluation::LossOptions& options = arguments->options;
  command
      ->add_option("--checkpoint", options.checkpoint,
                   "Checkpoint, or a Hugging Face directory of a Llama or Qwen 3 model")
      ->required()
      ->type_name("DIR");
  command
      ->add_option("--data", options.data,
                   "Token shards, or files of examples (.jsonl, .jsonl.zst, SQuAD's .json), globs allowed")
      ->required()
      ->type_name("FILES");
  command
      ->add_option("--sequence-length", arguments->sequence_length,
                   "Tokens per window [default: the checkpoint's sequence length]")
      ->transform(whole_number(1));
  command->add_option("--windows", arguments->windows, "Maximum number of windows [default: all]")
      ->transform(whole_number(1));
  command->add_option("--batch-size", options.batch_size, "Windows per batch")
      ->transform(whole_number(1))
      ->capture_default_str();
  command->add_flag("--skip-long", arguments->skip_long,
                    "Leave out examples that do not fit into a window, and count them");
  add_change_options(*command, arguments->changes, /*lists=*/false);
  add_placement_options(*command, options.placement);
  command->add_flag("--json", arguments->json, "Print one JSON object");
  command->footer(
      "Example:\n  ssgpt evaluate loss --checkpoint runs/quickstart/ssmax-seed1/checkpoints/step-00000300 "
      "--data 'data/bible/tokens/validation_*.bin'");
  command->callback([arguments] { run(*arguments); });
}

}  // namespace ssgpt::cli
